"""A loss that isn't what it has to be is refused, before any work where that can be known."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from headwater.errors import HeadwaterWarning, InputError, LossError, ModelError

from .small import (
    QUERIES,
    TRAINING,
    N,
    assert_close,
    cross_entropy,
    expected_scores,
    labels,
    make,
    model,
    states,
)
from .untouched import Untouched, prefixed

CALLS = {
    "self-influence": lambda estimator: estimator.influence(),
    "scores": lambda estimator: estimator.influence(*QUERIES),
    "top-k": lambda estimator: estimator.influence(*QUERIES, k=2),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def run(call=CALLS["scores"], **options):
    """Constructor and call: an error may come from either."""
    return call(make(**options))


class Marked:
    def __init__(self, reduction):
        self.reduction = reduction

    def __call__(self, predictions, targets):
        losses = cross_entropy(predictions, targets)
        return {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[self.reduction]


@pytest.mark.parametrize(
    ("loss", "flag"),
    [
        (nn.CrossEntropyLoss(), False),
        (nn.CrossEntropyLoss(reduction="sum"), False),
        (nn.CrossEntropyLoss(reduction="none"), True),
        (Marked("mean"), False),
        (Marked("sum"), False),
        (Marked("none"), True),
    ],
)
def test_a_loss_that_contradicts_its_flag_is_refused_before_any_work(loss, flag):
    module = Untouched(model())
    with pytest.raises(LossError, match="sample_wise_grads_per_batch") as caught:
        make(
            model=module,
            checkpoints=prefixed(),
            loss_fn=loss,
            sample_wise_grads_per_batch=flag,
        )
    assert loss.reduction in str(caught.value)
    assert module.calls == 0


def test_a_reduction_that_nobody_knows_is_refused():
    with pytest.raises(LossError, match="median"):
        make(loss_fn=Marked("median"), sample_wise_grads_per_batch=True)


def test_a_loss_that_does_not_say_its_reduction_is_taken_for_a_sum_with_a_warning():
    def total(predictions, targets):
        return F.cross_entropy(predictions, targets, reduction="sum")

    with pytest.warns(HeadwaterWarning, match="sum"):
        estimator = make(loss_fn=total, sample_wise_grads_per_batch=True)
    assert_close(estimator.influence(*QUERIES), expected_scores())


@every_call
@pytest.mark.filterwarnings("ignore::headwater.HeadwaterWarning")
def test_a_mean_that_does_not_say_so_is_not_scored_as_a_sum(call):
    def mean(predictions, targets):
        return F.cross_entropy(predictions, targets)

    with pytest.raises(LossError, match="mean"):
        run(call, loss_fn=mean, sample_wise_grads_per_batch=True)


@every_call
def test_a_sum_that_calls_itself_a_mean_is_refused(call):
    class Sum(nn.CrossEntropyLoss):
        def forward(self, predictions, targets):
            return F.cross_entropy(predictions, targets, reduction="sum")

    with pytest.raises(LossError):
        run(call, loss_fn=Sum(reduction="mean"), sample_wise_grads_per_batch=True)


@every_call
def test_a_mean_with_class_weights_is_refused_with_the_remedy(call):
    weight = torch.tensor([0.2, 1.0, 3.0]).double()
    with pytest.raises(LossError, match="none") as caught:
        run(
            call,
            loss_fn=nn.CrossEntropyLoss(weight=weight),
            sample_wise_grads_per_batch=True,
        )
    assert "mean" in str(caught.value)


@every_call
def test_a_mean_that_leaves_out_ignored_labels_is_refused(call):
    y = TRAINING[1].clone()
    y[1] = -100
    with pytest.raises(LossError, match="mean"):
        run(
            call,
            influence_src_dataset=TensorDataset(TRAINING[0], y),
            loss_fn=nn.CrossEntropyLoss(ignore_index=-100),
            sample_wise_grads_per_batch=True,
        )


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, ids):
        return self.head(self.embed(ids))


def token_data(count, seed):
    ids = labels(count * 4, seed, 5).reshape(count, 4)
    targets = ids.roll(-1, 1)
    for i in range(count):
        targets[i, 3 - i % 3 :] = -100  # sequences of unequal length
    return ids, targets


class TokenMean(nn.CrossEntropyLoss):
    """The mean over all tokens of the batch: long sequences weigh more than short ones."""

    def forward(self, predictions, targets):
        return super().forward(predictions.flatten(0, 1), targets.flatten())


@pytest.mark.parametrize("with_queries", [True, False])
def test_a_mean_over_tokens_is_refused(with_queries):
    estimator = make(
        model=model(kind=Tokens),
        influence_src_dataset=TensorDataset(*token_data(N, 1)),
        checkpoints=states(Tokens),
        loss_fn=TokenMean(),
        sample_wise_grads_per_batch=True,
    )
    with pytest.raises(LossError, match="mean"):
        estimator.influence(*(token_data(2, 2) if with_queries else ()))


@every_call
def test_a_scalar_where_losses_per_example_are_expected_is_refused(call):
    with pytest.raises(LossError, match=r"sample_wise_grads_per_batch|per-example"):
        run(call, loss_fn=lambda p, t: F.cross_entropy(p, t, reduction="sum"))


@pytest.mark.parametrize("with_queries", [True, False])
def test_losses_per_token_where_losses_per_example_are_expected_are_refused(with_queries):
    estimator = make(
        model=model(kind=Tokens),
        influence_src_dataset=TensorDataset(*token_data(N, 1)),
        checkpoints=states(Tokens),
        loss_fn=lambda p, t: F.cross_entropy(p.transpose(1, 2), t, reduction="none"),
    )
    with pytest.raises(LossError, match=r"\b4\b"):
        estimator.influence(*(token_data(2, 2) if with_queries else ()))


@every_call
def test_losses_where_a_reduction_is_expected_are_refused(call):
    loss = nn.CrossEntropyLoss(reduction="none")
    loss.reduction = "none"

    class Silent(nn.Module):
        reduction = "sum"

        def forward(self, predictions, targets):
            return loss(predictions, targets)

    with pytest.raises(LossError):
        run(call, loss_fn=Silent(), sample_wise_grads_per_batch=True)


@every_call
def test_losses_that_examples_share_are_refused(call):
    """Contrastive: each example's number depends on the whole batch, so none is its own."""

    def contrast(predictions, targets):
        return cross_entropy(predictions - predictions.mean(0), targets)

    with pytest.raises(LossError):
        run(call, loss_fn=contrast)


@pytest.mark.parametrize("with_queries", [True, False])
def test_outputs_of_several_numbers_are_no_losses(with_queries):
    with pytest.raises(LossError, match="3"):
        make(loss_fn=None).influence(*((QUERIES[0],) if with_queries else ()))


def test_a_loss_of_complex_or_whole_numbers_is_refused():
    with pytest.raises(LossError):
        run(loss_fn=lambda p, t: (p.argmax(1) == t).long())


@every_call
def test_a_loss_that_no_parameter_reaches_is_refused(call):
    with pytest.raises((ModelError, LossError)):
        run(call, loss_fn=lambda p, t: cross_entropy(p.detach(), t))


def test_a_loss_function_that_is_no_function_is_refused():
    with pytest.raises(InputError, match="str"):
        make(loss_fn="cross_entropy")
