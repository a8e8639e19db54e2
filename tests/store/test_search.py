"""Approximate search and the second stage: few candidates, then exact scores."""

import sys

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from headwater import GradientStore, InputError, MissingDependencyError, Projected
from headwater.estimators.stored import search
from tests.estimators.small import (
    QUERIES,
    TRAINING,
    N,
    Stream,
    assert_close,
    dataset,
    expected_scores,
    labels,
    make,
    rows,
)
from tests.oracles import tracin

MORE = (rows(5, 30, 5), labels(5, 31))


def projected(path, dim=8, **options):
    return GradientStore.build(make(**options), path / "s", form=Projected(dim), dtype="float64")


def exact_top_k(scores, k, side):
    return tracin.top_k(scores, k, side == "proponents")


@pytest.mark.parametrize(
    "source", [dataset(), DataLoader(dataset(), batch_size=2)], ids=["data set", "loader"]
)
@pytest.mark.parametrize("side", ["proponents", "opponents"])
def test_candidates_are_scored_exactly_from_the_model(tmp_path, side, source):
    store = projected(tmp_path, influence_src_dataset=source)
    top = store.top_k(*QUERIES, k=3, side=side, recompute=N)
    indices, values = exact_top_k(expected_scores(), 3, side)
    assert torch.equal(top.indices, indices)
    assert_close(top.influence_scores, values)
    assert bool(top.exact.all())
    few = store.top_k(*QUERIES, k=2, side=side, recompute=3)
    assert bool(few.exact.all())
    assert_close(few.influence_scores, expected_scores().gather(1, few.indices))


def test_what_was_appended_keeps_the_scores_of_the_store_and_says_so(tmp_path):
    store = projected(tmp_path)
    store.append(TensorDataset(*MORE))
    store.delete([1])
    store.compact()
    count = len(store)
    top = store.top_k(*QUERIES, k=count, recompute=count)
    stored = store.scores(*QUERIES)
    exact = expected_scores()
    for q in range(2):
        for place, score, one, is_exact in zip(
            top.indices[q], top.influence_scores[q], top.ids[q], top.exact[q], strict=True
        ):
            assert bool(is_exact) == (one < N)
            assert_close(score, exact[q, one] if one < N else stored[q, place])
        assert top.influence_scores[q].tolist() == sorted(
            top.influence_scores[q].tolist(), reverse=True
        )


def test_exact_stores_have_nothing_to_recompute(tmp_path):
    store = GradientStore.build(make(), tmp_path / "s", dtype="float64")
    top = store.top_k(*QUERIES, k=2, recompute=5)
    assert top.indices.shape == (2, 2)
    assert bool(top.exact.all())


@pytest.mark.parametrize("small", [4096, 10])
@pytest.mark.parametrize("side", ["proponents", "opponents"])
def test_faiss_candidates_are_ranked_by_the_store(tmp_path, side, small, monkeypatch):
    monkeypatch.setattr(search, "_SMALL", small)
    inputs, targets = rows(600, 40, 5), labels(600, 41)
    source = TensorDataset(inputs, targets)
    store = projected(tmp_path, influence_src_dataset=source, batch_size=50)
    store.delete(range(100, 130))
    exact = store.top_k(*QUERIES, k=10, side=side)
    top = store.top_k(*QUERIES, k=10, side=side, approximate=200)
    shared = sum(len(set(a) & set(b)) for a, b in zip(exact.ids, top.ids, strict=True))
    assert shared >= 18
    assert_close(top.influence_scores, store.scores(*QUERIES).gather(1, top.indices))
    both = store.top_k(*QUERIES, k=4, side=side, approximate=200, recompute=20)
    assert bool(both.exact.all())


def test_odd_arguments_are_refused(tmp_path, monkeypatch):
    store = projected(tmp_path)
    for name in ("recompute", "approximate"):
        with pytest.raises(InputError, match=f"{name} is 2; expected a number of candidates"):
            store.top_k(*QUERIES, k=3, **{name: 2})
    with pytest.raises(InputError, match="an approximate search needs a vector per example"):
        GradientStore.build(make(), tmp_path / "f").top_k(*QUERIES, k=1, approximate=3)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'headwater\[faiss\]'"):
        store.top_k(*QUERIES, k=1, approximate=3)
    streamed = GradientStore.build(
        make(influence_src_dataset=Stream()), tmp_path / "stream", form=Projected(8)
    )
    with pytest.raises(InputError, match="is a stream, from which no examples can be picked"):
        streamed.top_k(*QUERIES, k=1, recompute=3)
    assert len(TRAINING[0]) == len(streamed)
