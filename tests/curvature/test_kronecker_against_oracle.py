"""K-FAC and EK-FAC against dense matrices, with the same drawn labels."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

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


def test_several_draws_are_averaged() -> None:
    found = made(CASES["linear"])
    inputs, labels = found.dataset.tensors
    drawn = [drawn_labels(found, seed) for seed in (2, 2 + 2**32)]
    assert not torch.equal(*drawn)
    scores, _ = kronecker.influence(
        copy.deepcopy(found.model),
        CASES["linear"].blocks,
        drawn=[(loss, (inputs[n], several[n])) for several in drawn for n in range(N)],
        training=[(loss, (inputs[n], labels[n])) for n in range(N)],
        queries=[(loss, (found.queries[0][q], found.queries[1][q])) for q in range(Q)],
    )
    estimator = InfluenceFunction(
        found.model, found.dataset, LOSS, curvature=EKFAC(seed=2, draws=2)
    )
    torch.testing.assert_close(estimator.influence(*found.queries), scores, rtol=1e-8, atol=1e-8)
    assert "2 times" in estimator.description
    with pytest.raises(ValueError, match="draws is 0"):
        EKFAC(draws=0)


@pytest.mark.parametrize("name", ["linear", "sequence", "convolution", "grouped convolution"])
def test_kfac_multiplies_the_factors_eigenvalues(name: str) -> None:
    found = made(CASES[name])
    curvature = KFAC(seed=1, damping=RelativeDamping(0.3))
    estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature)
    scores, own = expected(name, found, seed=1, factor=0.3, corrected=False)
    torch.testing.assert_close(estimator.influence(*found.queries), scores, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(estimator.influence(), own, rtol=1e-8, atol=1e-8)


class Sometimes(nn.Module):
    """Its head's weight is a table, too, for the batches of examples that look something up."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 4)
        self.head = nn.Linear(4, 3, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        ids = x[:, 0].long()
        x = x[:, 1:]
        return self.head(torch.tanh(x + self.table(ids - 1)) if bool((ids > 0).all()) else x)


def test_a_block_that_is_a_linear_map_in_some_batches_only_has_its_diagonal() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([0] * 4 + [1, 2, 3, 1] + [0] * 4)[:, None]
    inputs = torch.cat([ids, torch.randn(12, 4, generator=generator)], dim=1).double()
    labels = torch.randint(3, (12,), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Sometimes().double()
    estimator = InfluenceFunction(model, TensorDataset(inputs, labels), LOSS, batch_size=4)
    with torch.no_grad():
        outputs = torch.cat([model(part) for part in inputs.split(4)])
    drawn = Categorical().draw(outputs, None, torch.arange(12), 0).argmin(dim=1)
    scores, own = kronecker.influence(
        copy.deepcopy(model),
        [kronecker.Diagonal("table.weight")],
        drawn=[(loss, (inputs[n], drawn[n])) for n in range(12)],
        training=[(loss, (inputs[n], labels[n])) for n in range(12)],
        queries=[(loss, (inputs[n], labels[n])) for n in (0, 2)],
    )
    found = estimator.influence(inputs[[0, 2]], labels[[0, 2]])
    torch.testing.assert_close(found, scores, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(estimator.influence(), own, rtol=1e-8, atol=1e-8)


def test_layers_above_the_largest_factor_have_their_diagonal() -> None:
    found = made(CASES["linear"])
    inputs, labels = found.dataset.tensors
    drawn = drawn_labels(found, 0)
    names = ["0.weight", "0.bias"]
    blocks = [kronecker.Linear("2.weight", "2.bias", ["2"])]
    rows = {
        name: kronecker.influence(
            copy.deepcopy(found.model),
            [kronecker.Diagonal(name)] if name else blocks,
            drawn=[(loss, (inputs[n], drawn[n])) for n in range(N)],
            training=[(loss, (inputs[n], labels[n])) for n in range(N)],
            queries=[(loss, (found.queries[0][q], found.queries[1][q])) for q in range(Q)],
            damping=0.01,
        )[0]
        for name in [*names, None]
    }
    estimator = InfluenceFunction(
        found.model, found.dataset, LOSS, curvature=EKFAC(largest_factor=5, damping=0.01)
    )
    wanted = torch.stack(list(rows.values())).sum(dim=0)
    torch.testing.assert_close(estimator.influence(*found.queries), wanted, rtol=1e-8, atol=1e-8)
    assert "0.weight + 0.bias: diagonal (24)" in estimator.description
