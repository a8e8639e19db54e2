"""Classes, whatever the model puts out for its loss."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater.cleaning import accuracy
from headwater.cleaning.class_probabilities import log_probabilities
from headwater.tasks import Autocast, LossTask


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def task(loss):
    return LossTask(loss, reduction="none")


SEVERAL, ONE = numbers(5, 3), numbers(5, 1)
ODDS = torch.stack([1 - ONE.sigmoid()[:, 0], ONE.sigmoid()[:, 0]], dim=1)


@pytest.mark.parametrize(
    ("loss", "output", "expected"),
    [
        (nn.CrossEntropyLoss(reduction="none"), SEVERAL, SEVERAL.softmax(1)),
        (nn.NLLLoss(reduction="none"), SEVERAL.log_softmax(1), SEVERAL.softmax(1)),
        (lambda p, y: p, SEVERAL.softmax(1), SEVERAL.softmax(1)),
        (nn.BCEWithLogitsLoss(reduction="none"), ONE, ODDS),
        (nn.BCEWithLogitsLoss(reduction="none"), ONE[:, 0], ODDS),
        (nn.BCELoss(reduction="none"), ONE.sigmoid(), ODDS),
        (nn.BCELoss(reduction="none"), ONE.sigmoid()[:, 0], ODDS),
    ],
)
def test_logits_and_probabilities_are_told_apart_by_the_loss(loss, output, expected):
    for asked in (task(loss), Autocast(task(loss))):
        found = log_probabilities(asked, output)
        torch.testing.assert_close(found.exp(), expected)


def test_a_label_per_token_is_no_classifier_of_examples():
    assert log_probabilities(task(nn.CrossEntropyLoss(reduction="none")), numbers(5, 3, 4)) is None


def test_accuracy_of_a_model_that_puts_out_a_probability():
    inputs = numbers(40, 2).float()
    labels = (inputs[:, 0] > 0.3).float()
    net = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid(), nn.Flatten(0))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
        net[0].bias.fill_(-0.3)
    asked = task(nn.BCELoss(reduction="none"))
    assert accuracy(net, TensorDataset(inputs, labels), task=asked) == 1
