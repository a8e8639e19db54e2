"""Scores from one pass over a run, from its last update to its first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from headwater.capture.graph_size import graph_size
from headwater.capture.nonfinite import has_finite_sum
from headwater.capture.transposed_products import transposed_products
from headwater.errors import NonFiniteError
from headwater.estimators.unrolling.adjoint import Adjoint, Rows
from headwater.estimators.unrolling.clipping import clip_factor
from headwater.estimators.unrolling.example_gradients import BatchGradients, QueryGradients

if TYPE_CHECKING:
    from jaxtyping import Float

    from headwater.checkpoints import RecordedStep
    from headwater.replay import Player, Query, Snapshot, TrainingRun


@dataclass(frozen=True)
class Account:
    """What is taken into account of how a gradient acts on.

    Attributes:
        curvature: whether later gradients change with the weights.
        query_gradients: the query's gradient "at the end" of the run, gone back over its updates;
            or "along" it, at each update's own weights.
        frozen: whether what scales a gradient counts as given: Adam's second moments, clipping.
    """

    curvature: bool
    query_gradients: Literal["end", "along"]
    frozen: bool


def backward_pass(
    run: TrainingRun,
    player: Player,
    query: Query,
    rows: range,
    account: Account,
    bar: Any,
) -> Float[Tensor, "R N"]:
    """The scores of some queries.

    Args:
        run: the run.
        player: holds its model, which is borrowed.
        query: all queries.
        rows: which of them.
        account: what is taken into account.
        bar: a progress bar, which is moved on after every update.

    Raises:
        NonFiniteError: the derivative grows beyond all numbers; names the update.
    """
    trajectory = run.trajectory(player)
    names = player.names
    # Then the gradient is the sum of the examples' own, times a number that counts as given where
    # it is clipped, and nothing else is asked of it.
    is_a_sum = not account.curvature and (player.max_grad_norm is None or account.frozen)

    player.load_weights(trajectory.end.weights)
    query_gradients = QueryGradients(query, rows, player)
    batch_gradients = BatchGradients(player) if is_a_sum else None
    adjoint = Adjoint(query_gradients(), frozen=account.frozen)
    _refuse_non_finite(adjoint.weights, f"after update {run.steps[-1].step}, the last")
    some = next(iter(adjoint.weights.values()))
    scores = some.new_zeros(len(rows), run.examples.count)
    for step, before in trajectory.backwards(player):
        player.load_weights(before.weights)
        if account.query_gradients == "along":
            adjoint.weights = query_gradients()
        few = len(step.examples) <= len(rows)
        if batch_gradients is not None and (batch_gradients.usable or few):
            dots = _by_example(player, step, before, adjoint, names, batch_gradients)
            hessian: Rows = {}
        else:
            dots, hessian = _by_query(player, step, before, adjoint, names, account)
        places = torch.tensor(step.examples, device=scores.device)
        # A positive score is a proponent: more weight on it lowers the query's loss.
        scores.index_add_(1, places, dots, alpha=-1)
        for name, rows_of_it in hessian.items():
            adjoint.weights[name] += rows_of_it
        _refuse_non_finite({"scores": dots, **adjoint.weights}, f"before update {step.step}")
        bar.update()
    return scores.cpu()


def _by_example(
    player: Player,
    step: RecordedStep,
    before: Snapshot,
    adjoint: Adjoint,
    names: dict[str, str],
    batch_gradients: BatchGradients,
) -> Float[Tensor, "R B"]:
    """As `_by_query`, from gradients of the batch's examples."""
    batch, parameters = player.ready(step), player.parameters
    with graph_size(player.model) as graph:
        shares = player.shares(batch)
    whole = _of_the_loss(shares.sum(), parameters, differentiable=False)
    own = batch_gradients(batch, whole)
    factor = clip_factor(whole, player.max_grad_norm)
    clipped = (
        whole if factor is None else {name: gradient * factor for name, gradient in whole.items()}
    )
    by_gradient = adjoint.back_over(step, before, clipped, names)
    if own is None:
        found = transposed_products(
            [shares],
            [parameters[name] for name in by_gradient],
            [torch.eye(len(shares), dtype=shares.dtype, device=shares.device)],
            at_once=graph.vectors_at_once,
        )
        own = dict(zip(by_gradient, found, strict=True))
    size = next(iter(adjoint.weights.values())).shape[0]
    dots = shares.detach().new_zeros(size, len(step.examples))
    for name, rows in by_gradient.items():
        dots += rows.flatten(1) @ own[name].flatten(1).mT
    return dots if factor is None else dots * factor


def _by_query(
    player: Player,
    step: RecordedStep,
    before: Snapshot,
    adjoint: Adjoint,
    names: dict[str, str],
    account: Account,
) -> tuple[Float[Tensor, "R B"], Rows]:
    """By the weights of the batch's examples the derivative, and by the gradient's own weights.

    Both come of one backward pass through the gradient of the batch's loss, with a weight of 1 on
    every example's own.
    """
    batch = player.ready(step)
    parameters = player.parameters
    some = next(iter(parameters.values()))
    ones = torch.ones(len(step.examples), dtype=some.dtype, device=some.device, requires_grad=True)
    with _twice_differentiable():
        with graph_size(player.model) as graph:
            loss = player.weighted(batch, ones)
        gradients = _of_the_loss(loss, parameters, differentiable=True)
        factor = clip_factor(gradients, player.max_grad_norm)
        if factor is not None:
            if account.frozen:
                factor = factor.detach()
            gradients = {name: gradient * factor for name, gradient in gradients.items()}
        by_gradient = adjoint.back_over(step, before, gradients, names)
        moved = list(by_gradient)
        sources = [*parameters.values(), ones] if account.curvature else [ones]
        if not moved:
            size = next(iter(adjoint.weights.values())).shape[0]
            return some.detach().new_zeros(size, len(step.examples)), {}
        *hessian, dots = transposed_products(
            [gradients[name] for name in moved],
            sources,
            [by_gradient[name] for name in moved],
            at_once=graph.vectors_at_once,
        )
    return dots, dict(zip(parameters, hessian, strict=False)) if account.curvature else {}


def _of_the_loss(
    loss: Tensor, parameters: Mapping[str, Tensor], *, differentiable: bool
) -> dict[str, Tensor]:
    """The gradients of a batch's loss, of all parameters that it depends on; the graph is kept."""
    found = torch.autograd.grad(
        loss,
        list(parameters.values()),
        retain_graph=True,
        create_graph=differentiable,
        allow_unused=True,
    )
    pairs = zip(parameters, found, strict=True)
    return {name: gradient for name, gradient in pairs if gradient is not None}


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    # The fused kernels of attention have no second derivative, nor have cuDNN's recurrent layers.
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
        yield


def _refuse_non_finite(found: dict[str, Tensor], when: str) -> None:
    for name, rows in found.items():
        if not has_finite_sum(rows) and not bool(torch.isfinite(rows).all()):
            raise NonFiniteError(
                f"the derivative of the queries' losses by {name!r} {when}, is not finite: small "
                f"changes early in this run grow without bounds, so that no first-order prediction "
                f"holds. A lower learning rate, a warm-up, larger batches or a larger eps of Adam "
                f"make a run smoother"
            )
