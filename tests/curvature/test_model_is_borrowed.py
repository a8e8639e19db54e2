"""Fitting and asking leave model, random numbers and data as they were; answers fit each other."""

import copy
import inspect

import pytest
import torch
from torch import nn

from headwater import (
    ASTRA,
    EKFAC,
    KFAC,
    SOURCE,
    CurvatureError,
    Exact,
    GaussNewtonCG,
    GradientStore,
    InfluenceFunction,
    InputError,
)
from tests.curvature.models import CASES, N, made

LOSS = nn.CrossEntropyLoss(reduction="none")
CURVATURES = {
    "EKFAC": EKFAC(),
    "KFAC": KFAC(),
    "Exact": Exact(),
    "GaussNewtonCG": GaussNewtonCG(tolerance=1e-12, max_steps=300),
    "ASTRA": ASTRA(steps=3, batch_size=None),
}


@pytest.mark.parametrize("name", CURVATURES)
def test_the_model_is_as_before_and_answers_agree(name: str) -> None:
    found = made(CASES["linear"])
    model: nn.Module = found.model.train()
    model[0].bias.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    model[2].weight.grad = torch.ones_like(model[2].weight)
    state = torch.get_rng_state()
    estimator = InfluenceFunction(
        model, found.dataset, LOSS, curvature=CURVATURES[name], layers=["2", "0.weight"]
    )
    scores = estimator.influence(*found.queries)
    top = estimator.influence(*found.queries, k=4, proponents=False)
    own = estimator.influence()
    asked = estimator.attribute(*found.queries)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert torch.equal(model[2].weight.grad, torch.ones_like(model[2].weight))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    lowest = scores.sort(dim=1).values[:, :4]
    torch.testing.assert_close(top.influence_scores, lowest)
    assert own.shape == (N,)
    assert (own > 0).all()
    summed = asked.over_queries().tensor()
    torch.testing.assert_close(summed, scores.sum(dim=0, keepdim=True))
    assert asked.meaning.formula.startswith("influence(q, n) = <gradient of q, (curvature")
    assert "damping" in estimator.description
    assert name in str(asked.meaning.as_dict()["estimator"]["curvature"])


def test_curvature_is_fitted_anew_for_other_weights() -> None:
    found = made(CASES["linear"])
    estimator = InfluenceFunction(found.model, found.dataset, LOSS)
    assert estimator.description.endswith("not fitted yet")
    first = estimator.influence(*found.queries)
    fitted = estimator._fitted
    assert torch.equal(estimator.influence(*found.queries), first)
    assert estimator._fitted is fitted
    state = copy.deepcopy(found.model.state_dict())
    with torch.no_grad():
        found.model[0].weight.mul_(1.5)
    second = estimator.influence(*found.queries)
    assert not torch.allclose(first, second)
    from_state = InfluenceFunction(found.model, found.dataset, LOSS, checkpoint=state)
    torch.testing.assert_close(from_state.influence(*found.queries), first)


def test_arguments_of_the_wrong_kind_are_refused(tmp_path) -> None:
    found = made(CASES["linear"])
    with pytest.raises(InputError, match="curvature is 'ekfac'"):
        InfluenceFunction(found.model, found.dataset, LOSS, curvature="ekfac")
    with pytest.raises(InputError, match="to which EKFAC would be fitted"):
        InfluenceFunction(found.model, tmp_path, LOSS)
    with pytest.raises(InputError, match=r"SOURCE isn.t answered by stores"):
        SOURCE(found.model, tmp_path, [found.model.state_dict()], loss_fn=LOSS, updates=[1])
    estimator = InfluenceFunction(found.model, found.dataset, LOSS)
    with pytest.raises(InputError, match="a store is built from"):
        GradientStore.build(estimator, tmp_path / "store")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EKFAC(damping=-1), "damping is -1; expected a number of at least 0"),
        (lambda: EKFAC(damping="auto"), "damping is 'auto'"),
        (lambda: Exact("fisher"), "matrix is 'fisher'"),
        (lambda: GaussNewtonCG(tolerance=2), "tolerance is 2"),
        (lambda: GaussNewtonCG(max_steps=0), "max_steps is 0"),
        (lambda: ASTRA(KFAC()), "expected an EKFAC"),
        (lambda: ASTRA(steps=0), "steps is 0"),
        (lambda: ASTRA(learning_rate=-0.5), "learning_rate is -0.5"),
    ],
)
def test_settings_out_of_range_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("curvature", [EKFAC(), KFAC(), ASTRA()], ids=repr)
def test_without_a_loss_it_says_to_pass_one(curvature) -> None:
    found = made(CASES["linear"])
    estimator = InfluenceFunction(found.model, found.dataset, curvature=curvature)
    with pytest.raises(CurvatureError, match="neither a loss_fn nor a task; pass the loss that"):
        estimator.influence(*found.queries)


@pytest.mark.parametrize(
    "call",
    [
        lambda *found: InfluenceFunction(*found, [{}], loss_fn=LOSS),
        lambda *found: InfluenceFunction(*found, "run", loss_fn=LOSS),
        lambda *found: InfluenceFunction(*found, [{}]),
        lambda *found: InfluenceFunction(*found, LOSS, checkpoints=[{}]),
    ],
)
def test_several_checkpoints_are_refused_by_name(call) -> None:
    found = made(CASES["linear"])
    with pytest.raises(InputError, match=r"takes one checkpoint, .*loss_fn, checkpoint=\.\.\.\)"):
        call(found.model, found.dataset)


def test_its_signature_is_that_of_its_constructor() -> None:
    shown = list(inspect.signature(InfluenceFunction).parameters)
    assert shown[:4] == ["model", "influence_src_dataset", "loss_fn", "curvature"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        InfluenceFunction(made(CASES["linear"]).model, [], LOSS, nonsense=1)


def test_no_damping_for_directions_without_curvature_is_refused() -> None:
    found = made(CASES["linear"])
    estimator = InfluenceFunction(
        found.model, found.dataset, LOSS, curvature=KFAC(damping=0), layers=["2.bias"]
    )
    assert estimator.fit().description
    estimator = InfluenceFunction(found.model, found.dataset, LOSS, curvature=Exact(damping=0))
    with pytest.raises(ValueError, match="can't be inverted"):
        estimator.influence()


def test_an_exact_curvature_beyond_memory_is_refused() -> None:
    found = made(CASES["linear"])
    estimator = InfluenceFunction(
        found.model, found.dataset, LOSS, curvature=Exact(), memory_budget=1000
    )
    with pytest.raises(ValueError, match="above the memory budget"):
        estimator.influence()
