"""K-FAC and EK-FAC against dense matrices, with the same drawn labels."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from headwater import EKFAC, KFAC, InfluenceFunction, RelativeDamping
from headwater.curvature.likelihood import Categorical
from tests.curvature.models import CASES, Made, N, Q, made
from tests.oracles import kronecker

LOSS = nn.CrossEntropyLoss(reduction="none")


def loss(model: nn.Module, example: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model(example[0][None]), example[1][None])


def drawn_labels(found: Made, seed: int) -> Tensor:
    with torch.no_grad():
        outputs = found.model(found.dataset.tensors[0])
    grads = Categorical().draw(outputs, None, torch.arange(N), seed)
    return grads.argmin(dim=1)


def expected(name: str, found: Made, seed: int, **options: float | bool) -> tuple[Tensor, Tensor]:
    inputs, labels = found.dataset.tensors
    drawn = drawn_labels(found, seed)
    return kronecker.influence(
        copy.deepcopy(found.model),
        CASES[name].blocks,
        drawn=[(loss, (inputs[n], drawn[n])) for n in range(N)],
        training=[(loss, (inputs[n], labels[n])) for n in range(N)],
        queries=[(loss, (found.queries[0][q], found.queries[1][q])) for q in range(Q)],
        **options,
    )


@pytest.mark.parametrize("name", CASES)
def test_ekfac_is_the_dense_inverse_of_its_factors(name: str) -> None:
    found = made(CASES[name])
    estimator = InfluenceFunction(
        found.model, found.dataset, LOSS, curvature=EKFAC(seed=5), batch_size=4
    )
    scores, own = expected(name, found, seed=5)
    torch.testing.assert_close(estimator.influence(*found.queries), scores, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(estimator.influence(), own, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["linear", "sequence", "convolution", "grouped convolution"])
def test_kfac_multiplies_the_factors_eigenvalues(name: str) -> None:
    found = made(CASES[name])
    curvature = KFAC(seed=1, damping=RelativeDamping(0.3))
    estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature)
    scores, own = expected(name, found, seed=1, factor=0.3, corrected=False)
    torch.testing.assert_close(estimator.influence(*found.queries), scores, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(estimator.influence(), own, rtol=1e-8, atol=1e-8)
