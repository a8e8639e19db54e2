"""Factors on disk: written once, whole or absent, and for one model and data."""

import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset

from headwater import (
    ASTRA,
    EKFAC,
    KFAC,
    SOURCE,
    CurvatureError,
    FactorsCorruptError,
    FactorsMismatchError,
    InfluenceFunction,
    InputError,
    RelativeDamping,
)
from headwater.curvature.kronecker_fit import KroneckerFit
from tests.curvature.models import CASES, Made, made

LOSS = nn.CrossEntropyLoss(reduction="none")


def estimator(found: Made, curvature, **options) -> InfluenceFunction:
    return InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature, **options)


@pytest.mark.parametrize("name", ["sequence", "grouped convolution"])
def test_factors_are_fitted_once_and_read_again(tmp_path, monkeypatch, name) -> None:
    found = made(CASES[name])
    path = tmp_path / "factors.safetensors"
    wanted = estimator(found, EKFAC()).influence(*found.queries)
    first = estimator(found, EKFAC(factors=path)).influence(*found.queries)
    torch.testing.assert_close(first, wanted)
    assert os.listdir(tmp_path) == ["factors.safetensors"]
    monkeypatch.setattr(KroneckerFit, "spectra", lambda _: pytest.fail("it fits again"))
    again = estimator(found, EKFAC(factors=path)).influence(*found.queries)
    torch.testing.assert_close(again, wanted)
    # Damping isn't in the file, and ASTRA begins with the same factors.
    other = EKFAC(factors=path, damping=RelativeDamping(0.3))
    assert not torch.allclose(estimator(found, other).influence(*found.queries), wanted)
    estimator(found, ASTRA(EKFAC(factors=path), steps=1)).fit()


def test_factors_of_something_else_are_refused_by_name(tmp_path) -> None:
    found = made(CASES["linear"])
    path = tmp_path / "factors.safetensors"
    estimator(found, EKFAC(factors=path)).fit()
    with pytest.raises(FactorsMismatchError, match="field 'seed'"):
        estimator(found, EKFAC(factors=path, seed=1)).fit()
    with pytest.raises(FactorsMismatchError, match="field 'curvature'"):
        estimator(found, KFAC(factors=path)).fit()
    with pytest.raises(FactorsMismatchError, match="field 'selection'"):
        estimator(found, EKFAC(factors=path), layers=["2"]).fit()
    shorter = TensorDataset(*(tensor[:-1] for tensor in found.dataset.tensors))
    with pytest.raises(FactorsMismatchError, match="field 'data'"):
        InfluenceFunction(found.model, shorter, LOSS, curvature=EKFAC(factors=path)).fit()
    with torch.no_grad():
        found.model[0].weight += 1
    with pytest.raises(FactorsMismatchError, match="the weights of the model differ"):
        estimator(found, EKFAC(factors=path)).fit()


@pytest.mark.parametrize("damage", ["cut off", "something else", "another file"])
def test_a_damaged_file_is_refused(tmp_path, damage) -> None:
    found = made(CASES["linear"])
    path = tmp_path / "factors.safetensors"
    estimator(found, EKFAC(factors=path)).fit()
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "something else":
        path.write_bytes(b"no safetensors at all")
    else:
        save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(FactorsCorruptError, match=r"remove"):
        estimator(found, EKFAC(factors=path)).fit()


def test_a_place_that_cannot_be_written_to_is_an_error(tmp_path, monkeypatch) -> None:
    found = made(CASES["linear"])
    path = tmp_path / "missing" / "factors.safetensors"
    monkeypatch.setattr(KroneckerFit, "spectra", lambda self: pytest.fail("it was fitted first"))
    with pytest.raises(
        CurvatureError, match=r"can't be written.*there is no folder.*make it first"
    ):
        estimator(found, EKFAC(factors=path)).fit()


def test_a_file_has_no_room_for_several_segments(tmp_path) -> None:
    found = made(CASES["linear"])
    with pytest.raises(InputError, match="leave factors out"):
        SOURCE(
            found.model,
            found.dataset,
            [dict(found.model.state_dict())],
            loss_fn=LOSS,
            segments=1,
            updates=[3],
            learning_rates=[0.1],
            curvature=EKFAC(factors=tmp_path / "factors"),
        )
