"""Answers from a store of plain gradients and factors on disk."""

import pytest
import torch
from torch import nn

from headwater import EKFAC, Exact, InfluenceFunction, InputError, RelativeDamping
from headwater.errors import StoreMismatchError
from tests.curvature.models import CASES, N, made

LOSS = nn.CrossEntropyLoss(reduction="none")


@pytest.mark.parametrize("name", ["sequence", "convolution", "embedding"])
def test_answers_from_a_store_need_no_training_data(tmp_path, name: str) -> None:
    found = made(CASES[name])
    curvature = EKFAC(factors=tmp_path / "factors", damping=RelativeDamping(0.2))
    estimator = InfluenceFunction(
        found.model, found.dataset, LOSS, curvature=curvature, batch_size=4
    )
    scores = estimator.influence(*found.queries)
    estimator.store_gradients(tmp_path / "store", dtype="float64", ids=[f"n{i}" for i in range(N)])
    stored = InfluenceFunction(found.model, tmp_path / "store", LOSS, curvature=curvature)
    torch.testing.assert_close(stored.influence(*found.queries), scores)
    torch.testing.assert_close(stored.influence(), estimator.influence())
    # In a lower precision than the model's, of which the curvature is.
    estimator.store_gradients(tmp_path / "lower")
    lower = InfluenceFunction(found.model, tmp_path / "lower", LOSS, curvature=curvature)
    torch.testing.assert_close(lower.influence(), estimator.influence(), rtol=1e-5, atol=1e-6)
    top = stored.influence(*found.queries, k=3)
    torch.testing.assert_close(top.influence_scores, scores.topk(3).values)
    asked = stored.attribute(*found.queries)
    assert asked.ids == [f"n{i}" for i in range(N)]
    torch.testing.assert_close(asked.over_queries().tensor()[0], scores.sum(dim=0))


def test_a_named_likelihood_needs_no_training_data_once_there_are_factors(tmp_path) -> None:
    found = made(CASES["linear"])
    curvature = EKFAC(factors=tmp_path / "factors", likelihood="categorical")
    estimator = InfluenceFunction(
        found.model, found.dataset, LOSS, curvature=curvature, batch_size=4
    )
    scores = estimator.influence(*found.queries)
    estimator.store_gradients(tmp_path / "store", dtype="float64")
    stored = InfluenceFunction(found.model, tmp_path / "store", LOSS, curvature=curvature)
    torch.testing.assert_close(stored.influence(*found.queries), scores)


def test_a_store_without_factors_or_of_another_model_is_refused(tmp_path) -> None:
    found = made(CASES["linear"])
    curvature = EKFAC(factors=tmp_path / "factors")
    estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature)
    estimator.store_gradients(tmp_path / "store", dtype="float64")
    with pytest.raises(InputError, match="there is no file of factors"):
        InfluenceFunction(found.model, tmp_path / "store", LOSS, curvature=curvature)
    with pytest.raises(InputError, match="to which Exact would be fitted"):
        InfluenceFunction(found.model, tmp_path / "store", LOSS, curvature=Exact())
    estimator.fit()
    with torch.no_grad():
        found.model[0].weight += 1
    with pytest.raises(StoreMismatchError, match="weights"):
        InfluenceFunction(found.model, tmp_path / "store", LOSS, curvature=curvature)
