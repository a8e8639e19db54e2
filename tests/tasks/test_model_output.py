"""The model's own output as what is differentiated, and queries without targets."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import TracInCP
from headwater.errors import LossError


def estimator(outputs: int) -> TracInCP:
    torch.manual_seed(0)
    net = nn.Linear(4, outputs)
    data = TensorDataset(torch.randn(5, 4), torch.randint(3, (5,)))
    return TracInCP(
        net,
        data,
        [(net.state_dict(), 0.3)],
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=5,
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        # Its four numbers look like four examples, and the three classes like one number of three.
        (torch.randn(4), r"there are 3 for a batch of shape \(4,\), which is 4 examples"),
        (torch.randn(2, 4), r"it is shape \(2, 3\)"),
    ],
)
def test_queries_of_a_classifier_without_targets_are_told_what_is_missing(query, said):
    with pytest.raises(LossError, match=said) as raised:
        estimator(outputs=3).influence(query)
    assert any(way in str(raised.value) for way in ("Pass loss_fn and targets", "inputs[None]"))
