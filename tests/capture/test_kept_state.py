"""Models that carry something from one call to the next: refused, with the reason."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import TracInCP
from headwater.errors import ModelError

N, T = 6, 4


class Carrying(nn.Module):
    """Begins where the call before has ended."""

    def __init__(self, kind):
        super().__init__()
        self.rnn, self.head, self.state = kind(3, 4), nn.Linear(4, 2), None

    def forward(self, x):
        out, state = self.rnn(x.transpose(0, 1), self.state)
        parts = state if isinstance(state, tuple) else (state,)
        detached = tuple(part.detach() for part in parts)
        self.state = detached if isinstance(state, tuple) else detached[0]
        return self.head(out[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_hidden_state_that_is_carried_on_is_named(kind, dtype):
    torch.manual_seed(0)
    model = Carrying(kind).to(dtype)
    data = TensorDataset(torch.randn(N, T, 3, dtype=dtype), torch.randint(0, 2, (N,)))
    tracin = TracInCP(
        model,
        data,
        [(model.state_dict(), 0.3)],
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=1,
    )
    with pytest.raises(ModelError, match=r"from one call to the next, such as a hidden state"):
        tracin.influence()
