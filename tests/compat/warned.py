"""What Captum itself warns of, where its own way of working is all that it is about."""

import pytest

_MESSAGES = [
    "Since `(test_)?loss_fn`",
    "WARNING. Using this implementation stores quantities",
    "WARNING. If calculating self influence scores",
    "Unable to determine the number of batches",
    "Input Tensor . did not already require gradients",
    r"Input Tensor . has a dtype of torch.int64",
    "Setting required grads for layer",
]
CAPTUM_WARNS = [pytest.mark.filterwarnings(f"ignore:{m}:UserWarning") for m in _MESSAGES]
