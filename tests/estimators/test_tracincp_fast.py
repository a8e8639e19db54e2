"""TracInCPFast is TracInCP restricted to the final layer, without a backward pass behind it."""

import inspect
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import HeadwaterWarning, LossError, SelectionError, TracInCP, TracInCPFast
from tests.oracles import tracin

from .final_layers import FINAL, Plain, TiedHead
from .small import (
    QUERIES,
    RATES,
    TRAINING,
    N,
    Q,
    assert_close,
    cross_entropy,
    labels,
    make,
    model,
    singles,
    states,
)

every_kind = pytest.mark.parametrize("kind", FINAL.values(), ids=FINAL)
every_reduction = pytest.mark.parametrize("reduction", ["none", "sum", "mean"])


def fast(kind=Plain, final_fc_layer="head", **options):
    given = {"model": model(kind=kind), "checkpoints": states(kind), **options}
    return make(TracInCPFast, final_fc_layer=final_fc_layer, **given)


def oracle(kind, names=("head.weight", "head.bias")):
    """Scores and self-influence, through a hidden layer's output that is cut off the graph."""
    module = model(kind=kind)
    chosen = [name for name in names if name in dict(module.named_parameters())]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in chosen)
    checkpoints = list(zip(states(kind), RATES, strict=True))

    def loss(module, example):
        return cross_entropy(module(example[0]), example[1]).squeeze(0)

    training = singles(*TRAINING)
    return (
        tracin.influence_scores(module, checkpoints, loss, training, singles(*QUERIES), chosen),
        tracin.self_influence(module, checkpoints, loss, training, chosen),
    )


@every_reduction
@every_kind
def test_scores_self_influence_and_top_k_equal_the_oracle(kind, reduction):
    estimator = fast(kind, loss_fn=nn.CrossEntropyLoss(reduction=reduction))
    scores, own = oracle(kind)
    assert_close(estimator.influence(*QUERIES), scores)
    assert_close(estimator.influence(), own)
    for proponents in (True, False):
        top = estimator.influence(*QUERIES, k=3, proponents=proponents)
        indices, values = tracin.top_k(scores, 3, proponents)
        assert torch.equal(top.indices, indices)
        assert_close(top.influence_scores, values)


@every_kind
def test_it_equals_tracincp_over_that_layer(kind):
    full = make(TracInCP, model=model(kind=kind), checkpoints=states(kind), layers=["head"])
    assert_close(fast(kind).influence(*QUERIES), full.influence(*QUERIES))
    assert_close(fast(kind).influence(), full.influence())


@pytest.mark.parametrize("batch_size", [1, 2, N, "auto"])
def test_scores_do_not_depend_on_batch_size(batch_size):
    assert_close(fast(batch_size=batch_size).influence(*QUERIES), oracle(Plain)[0])


def test_the_layer_is_given_by_name_or_as_itself():
    module = model(kind=Plain)
    by_module = fast(model=module, final_fc_layer=module.head)
    assert_close(by_module.influence(*QUERIES), oracle(Plain)[0])
    alone = nn.Linear(5, 3).double()
    whole = fast(model=alone, final_fc_layer=alone, checkpoints=[deepcopy(alone.state_dict())] * 2)
    assert whole.influence(*QUERIES).shape == (Q, N)


def test_float32_agrees():
    single = {
        "model": model(kind=Plain).float(),
        "influence_src_dataset": TensorDataset(TRAINING[0].float(), TRAINING[1]),
    }
    scores = fast(**single).influence(QUERIES[0].float(), QUERIES[1])
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), oracle(Plain)[0], rtol=1e-4, atol=1e-5)


def test_a_head_that_is_tied_to_the_token_table_counts_both_uses():
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(6, (N + Q, 4), generator=generator)
    targets = labels(N + Q, 4, classes=6)
    estimator = fast(TiedHead, influence_src_dataset=TensorDataset(ids[:N], targets[:N]))
    module = model(kind=TiedHead)
    expected = tracin.influence_scores(
        module,
        list(zip(states(TiedHead), RATES, strict=True)),
        lambda module, example: cross_entropy(module(example[0]), example[1]).squeeze(0),
        singles(ids[:N], targets[:N]),
        singles(ids[N:], targets[N:]),
        ["table.weight"],
    )
    assert_close(estimator.influence(ids[N:], targets[N:]), expected)


def test_losses_without_a_reduction_show_what_they_are():
    assert_close(fast(loss_fn=cross_entropy).influence(*QUERIES), oracle(Plain)[0])
    summed = fast(loss_fn=lambda p, t: cross_entropy(p, t).sum())
    with pytest.warns(HeadwaterWarning, match="assumed to be the sum"):
        assert_close(summed.influence(*QUERIES), oracle(Plain)[0])
    averaged = fast(loss_fn=lambda p, t: cross_entropy(p, t).mean())
    with (
        pytest.warns(HeadwaterWarning, match="assumed to be the sum"),
        pytest.raises(LossError, match="plain sum"),
    ):
        averaged.influence()


def test_without_targets_the_output_itself_is_differentiated():
    class One(Plain):
        def forward(self, x):
            return super().forward(x)[:, 0]

    found = fast(One, loss_fn=None).influence(QUERIES[0])
    full = make(model=model(kind=One), checkpoints=states(One), layers=["head"], loss_fn=None)
    assert_close(found, full.influence(QUERIES[0]))


@pytest.mark.parametrize("layer", ["haed", "body.head"])
def test_a_layer_that_is_not_there_lists_near_matches(layer):
    with pytest.raises(SelectionError, match=r"did you mean .*head"):
        fast(final_fc_layer=layer)


def test_a_layer_of_another_model_and_other_things_are_refused():
    with pytest.raises(SelectionError, match=r"a Linear that isn't in the model .*a copy"):
        fast(final_fc_layer=nn.Linear(4, 3))
    with pytest.raises(SelectionError, match="final_fc_layer is a int"):
        fast(final_fc_layer=3)


def test_hooks_never_leak_not_even_when_the_forward_raises():
    module = model(kind=Plain)

    def hooks():
        return [list(m._forward_hooks.values()) for m in module.modules()]

    before = hooks()
    estimator = fast(model=module)
    estimator.influence(*QUERIES, k=1)
    assert hooks() == before
    with pytest.raises(RuntimeError):
        estimator.influence(torch.ones(2, 9, dtype=torch.float64), QUERIES[1])
    assert hooks() == before


def test_the_signature_is_that_of_the_contract():
    parameters = inspect.signature(TracInCPFast).parameters.values()
    names = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert names == [
        "model",
        "final_fc_layer",
        "influence_src_dataset",
        "checkpoints",
        "checkpoints_load_func",
        "loss_fn",
        "batch_size",
        "vectorize",
    ]
    assert fast().get_name() == "TracInCPFast"
