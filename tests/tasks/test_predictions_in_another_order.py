"""Predictions whose examples don't lie along the first axis, with one loss per example."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from headwater import TracInCP
from headwater.errors import LossError

N, T, WIDTH, CLASSES = 10, 5, 4, 3
RATES = (0.03, 0.17)


class LastState(nn.Module):
    """(1, B, classes): what a recurrent layer ends with."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(WIDTH, CLASSES)

    def forward(self, x):
        return self.rnn(x.transpose(0, 1))[1]


class StepsFirst(LastState):
    """(T, B, classes)."""

    def forward(self, x):
        return self.rnn(x.transpose(0, 1))[0]


class BothStates(nn.Module):
    """Outputs, and a tuple of states that have another first axis."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, CLASSES, batch_first=True)

    def forward(self, x):
        return self.rnn(x)


class RowPerToken(nn.Module):
    """(B * T, classes)."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.linear(x).reshape(-1, CLASSES)


def of_last_state(states, targets):
    return cross_entropy(states[0], targets, reduction="none")


def of_steps(outputs, targets):
    return cross_entropy(outputs.permute(1, 2, 0), targets, reduction="none").sum(dim=1)


def of_both(outputs, targets):
    steps, (_, cells) = outputs
    return cross_entropy(steps[:, -1] + cells[0], targets, reduction="none")


def of_tokens(rows, targets):
    losses = cross_entropy(rows, targets.reshape(-1), reduction="none")
    return losses.view(len(targets), -1).sum(dim=1)


KINDS = [
    pytest.param(LastState, of_last_state, (N,), id="last state"),
    pytest.param(StepsFirst, of_steps, (N, T), id="steps first"),
    pytest.param(BothStates, of_both, (N,), id="states beside outputs"),
    pytest.param(RowPerToken, of_tokens, (N, T), id="a row per token"),
]


def made(model_type, targets):
    torch.manual_seed(2)
    models = [model_type().double() for _ in RATES]
    data = TensorDataset(torch.randn(N, T, WIDTH).double(), torch.randint(0, CLASSES, targets))
    return models, data


# With batches of T examples both first axes have one length.
@pytest.mark.parametrize("batch_size", [1, 3, T, "auto"])
@pytest.mark.parametrize(("model_type", "loss_fn", "targets"), KINDS)
def test_scores_are_those_of_a_loop(model_type, loss_fn, targets, batch_size):
    models, data = made(model_type, targets)
    expected = torch.zeros(2, N, dtype=torch.float64)
    for model, rate in zip(models, RATES, strict=True):
        rows = []
        for index in range(N):
            x, y = data[index : index + 1]
            (loss,) = loss_fn(model(x), y)
            grads = torch.autograd.grad(loss, list(model.parameters()))
            rows.append(torch.cat([grad.flatten() for grad in grads]))
        gradients = torch.stack(rows)
        expected += rate * gradients[:2] @ gradients.mT
    states = [copy.deepcopy(model.state_dict()) for model in models]
    checkpoints = list(zip(states, RATES, strict=True))
    tracin = TracInCP(models[0], data, checkpoints, loss_fn=loss_fn, batch_size=batch_size)
    found = tracin.influence(*data[:2])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch_size", [3, T])
def test_a_loss_that_depends_on_its_batch_is_refused_all_the_same(batch_size):
    models, data = made(StepsFirst, (N, T))
    tracin = TracInCP(
        models[0],
        data,
        [(models[0].state_dict(), 0.03)],
        loss_fn=lambda outputs, y: of_steps(outputs, y) / len(y),
        batch_size=batch_size,
    )
    with pytest.raises(LossError, match=r"must not depend on its batch"):
        tracin.influence()


def test_a_reduced_loss_that_cannot_be_told_apart_says_what_to_do():
    models, data = made(StepsFirst, (N, T))

    def total(outputs, targets):
        return of_steps(outputs, targets).sum()

    total.reduction = "sum"
    for batch_size, said in ((3, "first axis"), (T, r"first axis|reduction='none'")):
        tracin = TracInCP(
            models[0],
            data,
            [(models[0].state_dict(), 0.03)],
            loss_fn=total,
            batch_size=batch_size,
            sample_wise_grads_per_batch=True,
        )
        with pytest.raises(LossError, match=said):
            tracin.influence()
