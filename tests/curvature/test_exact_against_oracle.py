"""Exact curvature, conjugate gradients and ASTRA against dense matrices."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, nll_loss
from torch.utils.data import TensorDataset

from headwater import (
    ASTRA,
    EKFAC,
    CurvatureError,
    Exact,
    GaussNewtonCG,
    HeadwaterWarning,
    InfluenceFunction,
)
from tests.curvature.models import CASES, Made, N, Q, made
from tests.oracles import exact_influence

LOSS = nn.CrossEntropyLoss(reduction="none")


def output(model: nn.Module, example: tuple[Tensor, Tensor]) -> Tensor:
    return model(example[0][None])


def loss(outputs: Tensor, example: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(outputs, example[1][None])


def share(factor: float):
    return lambda matrix: factor * matrix.diagonal().mean()


def expected(found: Made, damping, *, loss=loss, hessian: bool = False, layers=None):
    model = copy.deepcopy(found.model)
    names = layers or [name for name, _ in model.named_parameters()]
    inputs, labels = found.dataset.tensors
    return exact_influence.influence(
        model,
        names,
        output,
        loss,
        training=[(inputs[n], labels[n]) for n in range(N)],
        queries=[(found.queries[0][q], found.queries[1][q]) for q in range(Q)],
        damping=damping,
        hessian=hessian,
    )


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", ["linear", "sequence", "tied", "embedding"])
def test_exact_is_the_dense_inverse_of_the_gauss_newton_matrix(name: str) -> None:
    found = made(CASES[name])
    estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=Exact(), batch_size=4)
    scores, own = expected(found, share(0.1))
    close(estimator.influence(*found.queries), scores)
    close(estimator.influence(), own)


def test_exact_is_the_dense_inverse_of_the_hessian() -> None:
    found = made(CASES["linear"])
    curvature = Exact("hessian", damping=2.0)
    estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature)
    scores, own = expected(found, lambda matrix: 2.0, hessian=True)
    close(estimator.influence(*found.queries), scores)
    close(estimator.influence(), own)


def test_a_hessian_with_negative_eigenvalues_is_refused() -> None:
    found = made(CASES["linear"])
    curvature = Exact("hessian", damping=0.0)
    estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature)
    with pytest.raises(CurvatureError, match=r"hessian matrix has an eigenvalue of -.*larger dam"):
        estimator.influence()


def test_layers_that_do_not_count_have_no_curvature() -> None:
    found = made(CASES["linear"])
    estimator = InfluenceFunction(
        found.model, found.dataset, LOSS, curvature=Exact(), layers=["2.weight"]
    )
    scores, _ = expected(found, share(0.1), layers=["2.weight"])
    close(estimator.influence(*found.queries), scores)


def test_log_probabilities_have_the_curvature_of_their_logits() -> None:
    found = made(CASES["linear"])
    model = nn.Sequential(*found.model, nn.LogSoftmax(dim=1))
    estimator = InfluenceFunction(
        model, found.dataset, nn.NLLLoss(reduction="none"), curvature=Exact()
    )
    scores, _ = expected(found, share(0.1))
    close(estimator.influence(*found.queries), scores)


def test_squared_error_averaged_over_outputs() -> None:
    found = made(CASES["linear"])
    targets = torch.randn(N, 3, generator=torch.Generator().manual_seed(0)).double()
    found.dataset = TensorDataset(found.dataset.tensors[0], targets)
    found.queries = (found.queries[0], targets[:Q])
    estimator = InfluenceFunction(
        found.model, found.dataset, nn.MSELoss(reduction="mean"), curvature=Exact()
    )
    scores, _ = expected(
        found, share(0.1), loss=lambda outputs, example: mse_loss(outputs, example[1][None])
    )
    close(estimator.influence(*found.queries), scores)


@pytest.mark.parametrize("name", ["linear", "convolution", "called twice"])
def test_conjugate_gradients_reach_the_dense_inverse(name: str) -> None:
    found = made(CASES[name])
    curvature = GaussNewtonCG(tolerance=1e-12, max_steps=500, damping=0.05)
    estimator = InfluenceFunction(
        found.model, found.dataset, LOSS, curvature=curvature, batch_size=5
    )
    scores, own = expected(found, lambda matrix: 0.05)
    close(estimator.influence(*found.queries), scores)
    if name == "linear":
        close(estimator.influence(), own)


def test_damping_of_conjugate_gradients_is_near_the_share_of_the_mean_eigenvalue() -> None:
    found = made(CASES["linear"])
    near, _ = expected(found, share(0.1))
    curvature = GaussNewtonCG(tolerance=1e-10, max_steps=300)
    scores = InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature).influence(
        *found.queries
    )
    both = torch.stack([near.flatten(), scores.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.99


def test_conjugate_gradients_that_stop_early_say_so() -> None:
    found = made(CASES["linear"])
    curvature = GaussNewtonCG(tolerance=1e-12, max_steps=2, damping=0.01)
    estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature)
    with pytest.warns(HeadwaterWarning, match="stopped after 2 steps with a residual"):
        estimator.influence(*found.queries)


def error(scores: Tensor, exact: Tensor) -> float:
    return float((scores - exact).norm() / exact.norm())


def test_astra_approaches_the_exact_solution() -> None:
    found = made(CASES["linear"])
    damping = 0.05
    exact, _ = expected(found, lambda matrix: damping)

    def scores(curvature) -> Tensor:
        estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature)
        return estimator.influence(*found.queries)

    rough = EKFAC(damping=damping)
    errors = [error(scores(rough), exact)] + [
        error(scores(ASTRA(rough, steps=steps, batch_size=None)), exact) for steps in (10, 60, 240)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1
    assert errors[-1] < errors[0] / 20
    in_batches = error(scores(ASTRA(rough, steps=100, batch_size=6)), exact)
    assert in_batches < errors[0]


def test_steps_of_astra_that_are_too_long_are_said() -> None:
    found = made(CASES["linear"])
    for size, rate in ((None, 100.0), (6, 100.0), (6, 1e30)):
        curvature = ASTRA(learning_rate=rate, batch_size=size)
        estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=curvature)
        with pytest.raises(CurvatureError, match=r"ASTRA diverged.* too long a step: lower it, or"):
            estimator.influence(*found.queries)


def test_curvature_of_a_loss_that_is_linear_in_the_output_is_refused() -> None:
    found = made(CASES["linear"])
    estimator = InfluenceFunction(
        found.model,
        found.dataset,
        lambda outputs, targets: nll_loss(outputs, targets, reduction="none"),
        curvature=Exact(),
    )
    with pytest.raises(CurvatureError, match="linear in the model's output"):
        estimator.influence()
