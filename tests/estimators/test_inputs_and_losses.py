"""Forms of batches and of losses that are taken as they are."""

from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from headwater.errors import LossError
from tests.oracles import tracin

from .small import (
    QUERIES,
    RATES,
    TRAINING,
    N,
    Q,
    assert_close,
    cross_entropy,
    dataset,
    expected_scores,
    labels,
    make,
    model,
    rows,
    singles,
    states,
)


class Halves(nn.Module):
    """Takes its two inputs in any of the ways a batch may hold them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, *inputs):
        if len(inputs) == 2:
            left, right = inputs
        elif isinstance(inputs[0], dict):
            left, right = inputs[0]["left"], inputs[0]["right"]
        else:
            assert isinstance(inputs[0], tuple | list)
            left, right = inputs[0]
        return torch.tanh(self.fc(torch.cat([left, right], dim=1)))


class HalvesDataset(Dataset):
    def __init__(self, form: str) -> None:
        self.form = form

    def __len__(self) -> int:
        return N

    def __getitem__(self, n: int):
        return (*split(TRAINING[0][n : n + 1], self.form, squeeze=True), TRAINING[1][n])


Pair = namedtuple("Pair", "left right")


def split(x, form, squeeze=False):
    left, right = (x[0, :2], x[0, 2:]) if squeeze else (x[:, :2], x[:, 2:])
    if form == "two":
        return left, right
    return ({"dict": {"left": left, "right": right}, "tuple": (left, right)}[form],)


@pytest.mark.parametrize("form", ["two", "dict", "tuple"])
def test_inputs_are_unpacked_as_asked(form):
    def loss(module, example):
        return cross_entropy(module(*split(example[0], "two")), example[1]).squeeze(0)

    module = model(kind=Halves)
    checkpoints = list(zip(states(Halves), RATES, strict=True))
    expected = tracin.influence_scores(
        module,
        checkpoints,
        loss,
        singles(*TRAINING),
        singles(*QUERIES),
        tracin.trainable_names(module),
    )
    estimator = make(
        model=model(kind=Halves),
        checkpoints=states(Halves),
        influence_src_dataset=HalvesDataset(form),
    )
    inputs = split(QUERIES[0], form)
    assert_close(estimator.influence(inputs, QUERIES[1]), expected)
    assert_close(estimator.influence(list(inputs), QUERIES[1]), expected)
    if form != "two":
        packed = estimator.influence(inputs[0], QUERIES[1], unpack_inputs=False)
        assert_close(packed, expected)
    if form == "dict":
        # With unpacking too: anything but a tuple or a list is one argument.
        assert_close(estimator.influence(inputs[0], QUERIES[1]), expected)


def test_a_training_batch_may_be_a_list():
    loader = DataLoader(
        dataset(), batch_size=3, collate_fn=lambda b: list(torch.utils.data.default_collate(b))
    )
    assert_close(make(influence_src_dataset=loader).influence(*QUERIES), expected_scores())


@pytest.mark.parametrize(
    ("loss", "flag"),
    [
        (nn.CrossEntropyLoss(reduction="none"), False),
        (nn.CrossEntropyLoss(reduction="sum"), True),
        (nn.CrossEntropyLoss(), True),
        (nn.CrossEntropyLoss(reduction="sum", weight=torch.ones(3).double()), True),
    ],
    ids=["none", "sum", "mean", "sum of weighted"],
)
def test_losses_of_torch_work_as_they_are(loss, flag):
    estimator = make(loss_fn=loss, sample_wise_grads_per_batch=flag)
    assert_close(estimator.influence(*QUERIES), expected_scores())


@pytest.mark.parametrize(("reduction", "divisor"), [("sum", 1), ("mean", 3)])
def test_mean_squared_error_of_torch_averages_over_outputs_only(reduction, divisor):
    targets, query_targets = rows(N, 30, 3), rows(Q, 31, 3)

    def loss(module, example):
        return (module(example[0]) - example[1]).square().sum() / divisor

    expected = tracin.influence_scores(
        model(),
        list(zip(states(), RATES, strict=True)),
        loss,
        singles(TRAINING[0], targets),
        singles(QUERIES[0], query_targets),
        tracin.trainable_names(model()),
    )
    estimator = make(
        influence_src_dataset=TensorDataset(TRAINING[0], targets),
        loss_fn=nn.MSELoss(reduction=reduction),
        sample_wise_grads_per_batch=True,
    )
    assert_close(estimator.influence(QUERIES[0], query_targets), expected)


class OneNumber(nn.Module):
    squeezed = False

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 1)

    def forward(self, x):
        out = torch.tanh(self.fc(x)).exp()
        return out.squeeze(1) if self.squeezed else out


class OneNumberSqueezed(OneNumber):
    squeezed = True


@pytest.mark.parametrize("loss", [nn.MSELoss, nn.BCEWithLogitsLoss])
def test_one_loss_per_example_may_have_the_axis_of_a_single_output(loss):
    """(B, 1), which is what a model with one output and a loss of torch's come to."""
    targets, query_targets = labels(N, 30, 2)[:, None].double(), labels(Q, 31, 2)[:, None].double()
    module = model(kind=OneNumber)
    expected = tracin.influence_scores(
        module,
        list(zip(states(OneNumber), RATES, strict=True)),
        lambda module, example: loss(reduction="sum")(module(example[0]), example[1]),
        singles(TRAINING[0], targets),
        singles(QUERIES[0], query_targets),
        tracin.trainable_names(module),
    )
    estimator = make(
        model=model(kind=OneNumber),
        checkpoints=states(OneNumber),
        influence_src_dataset=TensorDataset(TRAINING[0], targets),
        loss_fn=loss(reduction="none"),
    )
    assert_close(estimator.influence(QUERIES[0], query_targets), expected)


def test_predictions_that_are_paired_with_all_targets_are_told_apart():
    """(B, 1) against (B,) broadcasts to all pairs, in silence but for a warning of torch."""
    estimator = make(
        model=model(kind=OneNumber),
        checkpoints=states(OneNumber),
        influence_src_dataset=TensorDataset(TRAINING[0], rows(N, 30)),
        loss_fn=lambda predictions, targets: (predictions - targets).square(),
        batch_size=3,
    )
    with pytest.raises(LossError, match=r"\(3, 3\).*\(3, 1\) were broadcast .*\(3,\)"):
        estimator.influence()


def squared_error(predictions, targets):
    return (predictions.reshape(len(targets)) - targets).square()


@pytest.mark.parametrize("kind", [OneNumber, OneNumberSqueezed])
@pytest.mark.parametrize("with_loss", [True, False])
def test_without_loss_or_targets_the_output_itself_is_differentiated(kind, with_loss):
    """Without a loss on both sides; with a loss but no targets on the side of the query."""
    targets = rows(N, 30)

    def training_loss(module, example):
        if not with_loss:
            return module(example[0]).sum()
        return squared_error(module(example[0]), example[1]).sum()

    def gradients(loss, examples):
        return tracin.per_example_gradients(module, loss, examples, ["fc.weight", "fc.bias"])

    expected = 0
    for state, rate in zip(states(kind), RATES, strict=True):
        module = model(kind=kind)
        module.load_state_dict(state)
        queries = gradients(lambda m, e: m(e[0]).sum(), singles(*QUERIES))
        training = gradients(training_loss, singles(TRAINING[0], targets))
        expected = expected + rate * queries @ training.T
    estimator = make(
        model=model(kind=kind),
        checkpoints=states(kind),
        influence_src_dataset=TensorDataset(TRAINING[0], targets),
        loss_fn=squared_error if with_loss else None,
    )
    assert_close(estimator.influence(QUERIES[0]), expected)
    top = estimator.influence(QUERIES[0], k=2)
    assert torch.equal(top.indices, tracin.top_k(expected, 2)[0])
