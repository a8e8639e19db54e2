"""SOURCE against matrix exponentials, and in its two limits."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from headwater import (
    EKFAC,
    SOURCE,
    CheckpointRecorder,
    CheckpointSeries,
    InfluenceFunction,
    InputError,
    TracInCP,
)
from headwater.curvature.likelihood import Categorical
from tests.curvature.models import CASES, Made, N, made
from tests.oracles import kronecker

LOSS = nn.CrossEntropyLoss(reduction="none")
RATES, UPDATES = [0.3, 0.1, 0.2], [4, 10, 15]


def loss(model: nn.Module, example: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model(example[0][None]), example[1][None])


def states(model: nn.Module) -> list[dict[str, Tensor]]:
    """Three sets of weights."""
    found = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        found.append(
            {
                name: value + 0.2 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
                for name, value in model.state_dict().items()
            }
        )
    return found


def loaded(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    copied = copy.deepcopy(model)
    copied.load_state_dict(state)
    return copied


@pytest.mark.parametrize("name", ["linear", "sequence"])
def test_source_is_the_exponential_of_its_segments_curvature(name: str) -> None:
    found = made(CASES[name])
    models = [loaded(found.model, state) for state in states(found.model)]
    inputs, labels = found.dataset.tensors

    def drawn(model: nn.Module):
        with torch.no_grad():
            grads = Categorical().draw(model(inputs), None, torch.arange(N), 7)
        return [(loss, (inputs[n], label)) for n, label in enumerate(grads.argmin(dim=1))]

    def scores(asked: tuple[Tensor, Tensor]) -> Tensor:
        return kronecker.unrolled(
            [models[:1], models[1:]],
            CASES[name].blocks,
            [0.3 * 4, (0.1 + 0.2) / 2 * 11],
            drawn=drawn,
            training=[(loss, (inputs[n], labels[n])) for n in range(N)],
            queries=[(loss, one) for one in zip(*asked, strict=True)],
        )

    estimator = SOURCE(
        found.model,
        found.dataset,
        states(found.model),
        loss_fn=LOSS,
        segments=2,
        updates=UPDATES,
        learning_rates=RATES,
        curvature=EKFAC(seed=7),
        batch_size=5,
    )
    wanted = scores(found.queries)
    torch.testing.assert_close(estimator.influence(*found.queries), wanted, rtol=1e-8, atol=1e-10)
    own = scores((inputs, labels)).diagonal()
    torch.testing.assert_close(estimator.influence(), own, rtol=1e-8, atol=1e-10)
    top = estimator.influence(*found.queries, k=3)
    torch.testing.assert_close(top.influence_scores, wanted.topk(3).values, rtol=1e-8, atol=1e-10)
    summed = estimator.attribute(*found.queries).over_queries().tensor()
    torch.testing.assert_close(summed.flatten(), wanted.sum(dim=0), rtol=1e-8, atol=1e-10)
    assert "segment 2: checkpoints 1 to 2, 11 updates, eta K = 1.65" in estimator.description


def one_segment(found: Made, rate: float) -> Tensor:
    return SOURCE(
        found.model,
        found.dataset,
        [copy.deepcopy(found.model.state_dict())],
        loss_fn=LOSS,
        segments=1,
        updates=[10],
        learning_rates=[rate],
    ).influence(*found.queries)


def test_little_training_gives_tracin() -> None:
    found = made(CASES["linear"])
    tracin = TracInCP(
        found.model,
        found.dataset,
        [copy.deepcopy(found.model.state_dict())],
        loss_fn=LOSS,
        learning_rates=[10 * 1e-9],
    )
    torch.testing.assert_close(
        one_segment(found, 1e-9), tracin.influence(*found.queries), rtol=1e-6, atol=1e-14
    )


def test_endless_training_gives_the_influence_function() -> None:
    found = made(CASES["embedding"])
    exact = InfluenceFunction(found.model, found.dataset, LOSS, curvature=EKFAC(damping=1e-13))
    torch.testing.assert_close(
        one_segment(found, 1e12), exact.influence(*found.queries), rtol=1e-4, atol=1e-6
    )


def test_segments_and_updates_must_fit_the_checkpoints() -> None:
    found = made(CASES["linear"])

    def source(**options: object) -> SOURCE:
        given = {"loss_fn": LOSS, "learning_rates": RATES, "updates": UPDATES, **options}
        return SOURCE(found.model, found.dataset, states(found.model), **given)

    with pytest.raises(InputError, match="from 1 to the number of checkpoints, 3"):
        source(segments=4)
    with pytest.raises(InputError, match="updates is missing"):
        source(updates=None)
    with pytest.raises(InputError, match=r"\[4, 4, 9\]; expected an ascending list of 3"):
        source(updates=[4, 4, 9])
    with pytest.raises(InputError, match="expected EKFAC"):
        source(curvature="ekfac")


def test_the_folder_of_a_recording_says_its_updates(tmp_path) -> None:
    found = made(CASES["linear"])
    trained = copy.deepcopy(found.model)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    with CheckpointRecorder(tmp_path / "run", trained, optimizer, every=2):
        for _ in range(7):
            optimizer.zero_grad()
            cross_entropy(trained(found.dataset.tensors[0]), found.dataset.tensors[1]).backward()
            optimizer.step()
    series = SOURCE(
        found.model, found.dataset, CheckpointSeries.open(tmp_path / "run"), loss_fn=LOSS
    )
    for folder in (tmp_path / "run", str(tmp_path / "run")):
        source = SOURCE(found.model, found.dataset, folder, loss_fn=LOSS)
        assert source.updates == series.updates
        assert torch.equal(source.influence(*found.queries), series.influence(*found.queries))
