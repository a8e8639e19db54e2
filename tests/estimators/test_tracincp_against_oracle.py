"""TracInCP over the whole table of architectures, against autograd one example at a time."""

from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from headwater import InputError, TracInCP
from headwater.engine import work_plan
from headwater.forms import convolved, grouped
from headwater.forms.gradients import Block
from tests.architectures.architecture import N_TRAIN, RATES, Architecture, Reduced
from tests.architectures.zoo import ARCHITECTURES

from .reference import assert_scores_close, assert_top_k_close, reference

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported:UserWarning"),
    pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str),
]

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def estimator(
    architecture: Architecture,
    dtype: torch.dtype = torch.float64,
    reduction: str = "none",
    batch_size: int = 3,
    **further: Any,
) -> TracInCP:
    source = architecture.source(dtype, batch_size)
    loss = architecture.loss if reduction == "none" else Reduced(architecture.loss, reduction)
    options = {} if isinstance(source, DataLoader) else {"batch_size": batch_size}
    options |= further
    return TracInCP(
        architecture.model(dtype),
        source,
        architecture.states(dtype),
        loss_fn=loss,
        sample_wise_grads_per_batch=reduction != "none",
        learning_rates=RATES,
        **options,
    )


def queries(
    architecture: Architecture, dtype: torch.dtype = torch.float64
) -> tuple[Tensor | tuple[Tensor, ...], Tensor]:
    inputs, targets = architecture.query(dtype)
    return (inputs[0] if len(inputs) == 1 else inputs), targets


def check_everything(
    architecture: Architecture,
    dtype: torch.dtype = torch.float64,
    reduction: str = "none",
    batch_size: int = 3,
) -> None:
    expected = reference(architecture.name)
    tolerance = TOLERANCE[dtype]
    tracin = estimator(architecture, dtype, reduction, batch_size)
    inputs, targets = queries(architecture, dtype)

    scores = tracin.influence(inputs, targets)
    assert scores.dtype == dtype
    assert_scores_close(scores, expected.scores, tolerance)
    self_influence = tracin.influence()
    assert self_influence.dtype == dtype
    assert_scores_close(self_influence, expected.self_influence, tolerance)
    plain = (dtype, reduction, batch_size) == (torch.float64, "none", 3)
    for k, proponents in ((2, True), (4, False), (N_TRAIN, True)) if plain else ((4, False),):
        top = tracin.influence(inputs, targets, k=k, proponents=proponents)
        assert_top_k_close(top, expected.scores, k, proponents, tolerance)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_scores_self_influence_and_top_k_equal_the_oracle(architecture, reduction):
    check_everything(architecture, reduction=reduction)


@pytest.mark.parametrize("batch_size", [1, N_TRAIN])
def test_scores_do_not_depend_on_batch_size(architecture, batch_size):
    try:
        check_everything(architecture, batch_size=batch_size)
    except InputError:
        # Queries that aren't batch first can't be cut into smaller batches by a rule; saying so
        # is right, cutting them along their positions would not be.
        assert architecture.batch_dim != 0
        assert batch_size < architecture.queries


def test_scores_in_float32_equal_the_oracle(architecture):
    check_everything(architecture, dtype=torch.float32)


def test_each_query_alone_scores_as_among_others(architecture):
    expected = reference(architecture.name).scores
    tracin = estimator(architecture)
    inputs, targets = architecture.query()
    for q, (single, target) in enumerate(architecture.examples(inputs, targets)):
        scores = tracin.influence(single, target)
        assert_scores_close(scores, expected[q : q + 1], 1e-10)


def halves_of(groups: Iterable[work_plan.Group]) -> tuple[work_plan.Group, ...]:
    """Half of every layer's outputs, then the other half."""
    parts: dict[Block, list[Any]] = {}
    for block, part in (item for group in groups for item in group.items()):
        parts.setdefault(block, []).append(part)
    halves: tuple[dict[Block, Any], ...] = ({}, {})
    for block, own in parts.items():
        divided = [None] if own[0] is None else replace(own[0], stop=own[-1].stop).parted(2)
        for half, part in zip(halves, divided, strict=False):
            half[block] = part
    return halves


def test_scores_are_sums_over_parts_of_layers(architecture, monkeypatch):
    whole_groups = work_plan._groups

    def in_halves(*args: Any) -> Any:
        groups, held = whole_groups(*args)
        return halves_of(groups), held

    monkeypatch.setattr(work_plan, "_groups", in_halves)
    tracin = estimator(architecture, memory_budget=1)
    inputs, targets = queries(architecture)
    try:
        scores = tracin.influence(inputs, targets)
    except InputError:
        assert architecture.batch_dim != 0
        return
    assert_scores_close(scores, reference(architecture.name).scores, TOLERANCE[torch.float64])
    assert tracin._streamed.plan(tracin._question(inputs, targets)).divided


def test_queries_that_lie_side_by_side(architecture, monkeypatch):
    """As where there are many, and the processor is one that is faster so."""
    module = import_module("headwater.forms.side_by_side")
    monkeypatch.setattr(module, "side_by_side_is_faster", lambda gradients: True)
    tracin = estimator(architecture)
    scores = tracin.influence(*queries(architecture))
    assert_scores_close(scores, reference(architecture.name).scores, TOLERANCE[torch.float64])


def test_convolutions_of_all_examples_at_once(architecture, monkeypatch):
    """Where they would pay in float32 only, and for larger layers, but give the same."""
    model = architecture.model(torch.float64)
    if not any(isinstance(module, (nn.Conv2d, nn.Conv3d)) for module in model.modules()):
        return
    monkeypatch.setattr(convolved, "groups_are_cheaper", lambda form: True)
    monkeypatch.setattr(grouped, "_dtypes", lambda: {torch.float64})
    check_everything(architecture)
