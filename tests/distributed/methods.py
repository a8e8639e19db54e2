"""Estimators other than TracIn, as ranks of a group and as a single process ask them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import (
    EKFAC,
    KFAC,
    LESS,
    SOURCE,
    TRAK,
    CheckpointRecorder,
    Exact,
    GaussNewtonCG,
    InfluenceFunction,
    LoGra,
    RepresentationSimilarity,
    TracInAdam,
    TrainingLoss,
)
from tests.distributed import jobs


class Wandering(nn.Module):
    """A norm beside linear maps, and a layer that some batches never reach."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first, self.rare = nn.Linear(7, 5), nn.Linear(5, 5)
        self.scale, self.last = nn.LayerNorm(5), nn.Linear(5, 4)

    def forward(self, inputs):
        hidden = torch.tanh(self.first(inputs))
        return self.last(self.scale(hidden + (inputs[:, :1] > 1) * self.rare(hidden)))


def record(folder: Path) -> None:
    """A training run with Adam, for the estimators that read its moments."""
    model = jobs.net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, eps=1e-3)
    inputs, targets = jobs.rows().tensors
    with CheckpointRecorder(folder, model, optimizer, every=2, moments=True) as recorder:
        for start in range(0, 15, 3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                model(inputs[start : start + 3]), targets[start : start + 3]
            )
            loss.backward()
            recorder.note_loss(loss)
            optimizer.step()


def _wide(data: TensorDataset) -> TensorDataset:
    return TensorDataset(data.tensors[0].double(), data.tensors[1])


def fitted_together(folder: Path):
    """By name, estimators whose factors all ranks fit, each from its share of the batches."""
    loss = nn.CrossEntropyLoss(reduction="none")
    data, model = _wide(jobs.rows()), Wandering().double()
    uneven = [[0], [1, 2, 3, 4], [5, 6], *([i, i + 1, i + 2] for i in range(7, 25, 3)), [25]]
    states = [
        ({name: tensor.double() for name, tensor in state.items()}, rate)
        for state, rate in jobs.checkpoints()
    ]
    return {
        "EK-FAC": InfluenceFunction(model, data, loss, batch_size=3),
        "K-FAC": InfluenceFunction(
            model, data, loss, curvature=KFAC(seed=3, draws=2), batch_size=3
        ),
        "batches of unequal size": InfluenceFunction(
            model, DataLoader(data, batch_sampler=uneven), loss
        ),
        "captured twice": InfluenceFunction(model, data, loss, batch_size=3, memory_budget=2000),
        "more ranks than batches": InfluenceFunction(model, data, loss, batch_size=20),
        "diagonal": InfluenceFunction(
            model, data, loss, curvature=EKFAC(largest_factor=6), batch_size=3
        ),
        "file": InfluenceFunction(
            model, data, loss, curvature=EKFAC(factors=folder / "factors"), batch_size=3
        ),
        "SOURCE": SOURCE(
            jobs.net().double(),
            data,
            states,
            loss_fn=loss,
            segments=2,
            updates=[10, 20],
            batch_size=3,
        ),
    }


def each_by_itself(folder: Path):
    """By name, estimators of which ranks compute as a single process does, to the bit."""
    loss = nn.CrossEntropyLoss(reduction="none")
    data, model, checkpoints = jobs.rows(), jobs.net(), jobs.checkpoints()
    run, states = folder / "run", [state for state, _ in checkpoints]
    return {
        "Exact": InfluenceFunction(model, data, loss, curvature=Exact(), batch_size=3),
        "CG": InfluenceFunction(model, data, loss, curvature=GaussNewtonCG(), batch_size=3),
        "TRAK": TRAK(model, data, states, dim=16, batch_size=3),
        "LoGra": LoGra(model, data, states, dim=3, loss_fn=loss, batch_size=3),
        "LESS": LESS(model, data, run, dim=16, loss_fn=loss, batch_size=3),
        "TracInAdam": TracInAdam(model, data, run, loss_fn=loss, batch_size=3),
        "TrainingLoss": TrainingLoss(model, data, states, loss_fn=loss, batch_size=3),
        "RepresentationSimilarity": RepresentationSimilarity(
            model, data, states, loss_fn=loss, batch_size=3
        ),
    }


def answers(folder: Path) -> dict[str, list[torch.Tensor]]:
    """By name, an estimator's answers."""
    found = {}
    for make in (fitted_together, each_by_itself):
        for name, estimator in make(folder).items():
            inputs, targets = jobs.queries()
            if make is fitted_together:
                inputs = inputs.double()
            found[name] = []
            if name != "TrainingLoss":
                found[name] += [estimator.influence(inputs, targets)]
            if name == "CG":
                # A minimisation for each question.
                continue
            if name != "TrainingLoss":
                found[name] += estimator.influence(inputs, targets, k=4)[:2]
            if name not in ("LESS", "RepresentationSimilarity"):
                found[name].append(estimator.influence())
    return found


def fit(how: str) -> object:
    """A fit in which rank 1 is killed, or meets a number that isn't finite."""
    loss = nn.CrossEntropyLoss(reduction="none")
    data = jobs.Dying(jobs.rows(), 13, how)
    return InfluenceFunction(jobs.net(), data, loss, batch_size=3).influence()
