"""TracInCPFastRandProj: exact without a projection, and without bias with one."""

import inspect
import sys

import pytest
import torch
from torch import nn

from headwater import (
    ExactNearestNeighbors,
    FaissNearestNeighbors,
    InputError,
    MissingDependencyError,
    NonFiniteError,
    Projected,
    TracInCPFastRandProj,
)
from tests.oracles import tracin

from .final_layers import FINAL, Plain
from .small import (
    QUERIES,
    TRAINING,
    N,
    Q,
    Stream,
    assert_close,
    expected_scores,
    expected_self_influence,
    labels,
    make,
    model,
    rows,
    states,
)
from .snapshot import same, snapshot
from .test_tracincp_fast import fast, oracle


def rand_proj(kind=Plain, **options):
    given = {"model": model(kind=kind), "checkpoints": states(kind), "final_fc_layer": "head"}
    return make(TracInCPFastRandProj, **{**given, **options})


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("kind", FINAL.values(), ids=FINAL)
def test_without_a_projection_everything_equals_the_oracle(kind, reduction):
    estimator = rand_proj(kind, loss_fn=nn.CrossEntropyLoss(reduction=reduction))
    scores, own = oracle(kind)
    assert_close(estimator.influence(*QUERIES), scores)
    assert_close(estimator.influence(), own)
    for proponents in (True, False):
        for k in (0, 3, N + 2):
            top = estimator.influence(*QUERIES, k=k, proponents=proponents)
            indices, values = tracin.top_k(scores, k, proponents)
            assert torch.equal(top.indices, indices)
            assert_close(top.influence_scores, values) if k else None
            assert top.influence_scores.shape == (Q, min(k, N))


@pytest.mark.parametrize("dim", [1, 7, 300])
def test_vectors_have_the_length_that_was_asked_for(dim):
    shapes = []

    class Noting(ExactNearestNeighbors):
        def setup(self, data):
            shapes.append(data.shape)
            super().setup(data)

    estimator = rand_proj(projection_dim=dim, nearest_neighbors=Noting())
    scores = estimator.influence(*QUERIES)
    indices, values = tracin.top_k(scores, 2)
    top = estimator.influence(*QUERIES, k=2)
    assert torch.equal(top.indices, indices)
    assert_close(top.influence_scores, values)
    assert shapes == [(N, dim)]


def within_four_standard_errors(estimates, expected):
    stacked = torch.stack(estimates)
    error = stacked.std(0) / len(stacked) ** 0.5
    assert bool(((stacked.mean(0) - expected).abs() < 4.5 * error).all())
    return stacked.var(0)


def test_estimates_are_without_bias_and_their_variance_falls_with_the_dim():
    scores, own = oracle(Plain)
    variances = []
    for dim in (16, 64):
        seeds = [rand_proj(projection_dim=dim, seed=seed) for seed in range(150)]
        variances.append(
            within_four_standard_errors([s.influence(*QUERIES) for s in seeds], scores)
        )
        within_four_standard_errors([s.influence() for s in seeds], own)
    ratio = float(variances[0].mean() / variances[1].mean())
    assert 2.5 < ratio < 6.5


def test_all_layers_are_projected_by_a_form_that_any_estimator_takes():
    scores, own = expected_scores(), expected_self_influence()
    for dim in (4, 64):  # the layers of this model are two-sided at 4
        seeds = [make(form=Projected(dim, seed=seed)) for seed in range(150)]
        within_four_standard_errors([s.influence(*QUERIES) for s in seeds], scores)
        within_four_standard_errors([s.influence() for s in seeds], own)
    last = [fast(form=Projected(16, seed=seed)) for seed in range(150)]
    within_four_standard_errors([s.influence(*QUERIES) for s in last], oracle(Plain)[0])


@pytest.mark.parametrize("batch_size", [1, 2, N])
def test_estimates_do_not_depend_on_batch_size_or_memory(batch_size):
    expected = make(form=Projected(8, seed=5)).influence(*QUERIES)
    assert_close(
        make(form=Projected(8, seed=5), batch_size=batch_size).influence(*QUERIES), expected
    )
    assert_close(make(form=Projected(8, seed=5), memory_budget=200).influence(*QUERIES), expected)
    top = make(form=Projected(8, seed=5), memory_budget=200).influence(*QUERIES, k=3)
    assert torch.equal(top.indices, tracin.top_k(expected, 3)[0])


def test_two_estimators_of_one_seed_agree_and_global_generators_are_left_alone():
    before = torch.get_rng_state()
    one, two = (rand_proj(projection_dim=9, seed=4).influence(*QUERIES) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, rand_proj(projection_dim=9, seed=5).influence(*QUERIES))
    assert torch.equal(torch.get_rng_state(), before)


def test_many_queries_go_through_in_pieces():
    inputs, targets = rows(600, 9, 5), labels(600, 8)
    scores = rand_proj().influence(inputs, targets)
    assert_close(scores, fast().influence(inputs, targets))


def test_a_stream_of_training_examples_will_do():
    assert_close(rand_proj(influence_src_dataset=Stream()).influence(*QUERIES), oracle(Plain)[0])


def test_faiss_finds_what_the_exact_search_finds():
    exact, approximate = (
        rand_proj(projection_dim=32, nearest_neighbors=search).influence(*QUERIES, k=3)
        for search in (None, FaissNearestNeighbors("Flat"))
    )
    assert torch.equal(exact.indices, approximate.indices)
    torch.testing.assert_close(
        exact.influence_scores, approximate.influence_scores, rtol=1e-4, atol=1e-5
    )
    opponents = rand_proj(projection_dim=32, nearest_neighbors=FaissNearestNeighbors("Flat"))
    lowest = opponents.influence(*QUERIES, k=1, proponents=False)
    assert torch.equal(lowest.indices[:, 0], opponents.influence(*QUERIES).argmin(1))


def test_without_faiss_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'headwater\[faiss\]'"):
        FaissNearestNeighbors()


def test_odd_arguments_are_refused():
    with pytest.raises(InputError, match="every query visits them again; pass a list"):
        rand_proj(checkpoints=iter(states(Plain)))
    with pytest.raises(InputError, match=r"nearest_neighbors is a list without setup\(\)"):
        rand_proj(nearest_neighbors=[])
    with pytest.raises(InputError, match="dim is 0; expected a positive int"):
        rand_proj(projection_dim=0)
    with pytest.raises(InputError, match="form is 512; expected headwater"):
        make(form=512)


def test_a_query_that_is_not_finite_is_named_as_a_query():
    inputs = QUERIES[0].clone()
    inputs[1, 2] = float("nan")
    for search in (rand_proj(), rand_proj(projection_dim=5)):
        with pytest.raises(NonFiniteError, match="query 1, layer head"):
            search.influence(inputs, QUERIES[1], k=2)


def test_the_model_is_left_as_it_was():
    module = model(kind=Plain).train()
    before = snapshot(module)
    estimator = rand_proj(model=module, projection_dim=6)
    assert same(snapshot(module), before)
    estimator.influence(*QUERIES, k=2)
    assert same(snapshot(module), before)


def test_the_signature_is_that_of_the_contract():
    parameters = inspect.signature(TracInCPFastRandProj).parameters.values()
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
        "nearest_neighbors",
        "projection_dim",
        "seed",
    ]
    assert len(TRAINING[0]) == N
