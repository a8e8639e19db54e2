"""Several products with the transpose of one Jacobian, by backward passes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor


def transposed_products(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    directions: Sequence[Tensor],
    *,
    at_once: int,
) -> list[Tensor]:
    """For each of R directions the gradient of <outputs, direction>, one tensor per input.

    Args:
        outputs: what is differentiated; what depends on nothing is left out.
        inputs: by what.
        directions: as many as outputs, each with a leading axis of length R.
        at_once: how many directions go through the graph in one backward pass; see `GraphSize`.

    Returns:
        per input R gradients, zero where no output depends on it; the graph is kept.
    """
    rows = directions[0].shape[0]
    pairs = [
        (output, direction)
        for output, direction in zip(outputs, directions, strict=True)
        if output.requires_grad
    ]
    ends = [output for output, _ in pairs]
    parts: list[Sequence[Tensor | None]] = []
    start = 0
    while pairs and start < rows:
        stop = min(start + at_once, rows)
        ways = [direction[start:stop] for _, direction in pairs]
        found = _together(ends, inputs, ways) if stop - start > 1 else None
        if found is None:
            # A single direction, or an operator that can't be vectorised: so it goes on.
            at_once, stop = 1, start + 1
            found = _alone(ends, inputs, [way[0] for way in ways])
        parts.append(found)
        start = stop
    columns = zip(*parts, strict=True) if parts else [()] * len(inputs)
    return [_joined(column, one, rows) for column, one in zip(columns, inputs, strict=True)]


def _together(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], directions: Sequence[Tensor]
) -> Sequence[Tensor | None] | None:
    """All directions in one backward pass; None where an operator can't do that."""
    try:
        with warnings.catch_warnings():
            # An operator without a rule for it goes row by row, which is what is wanted.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            found: Sequence[Tensor | None] = torch.autograd.grad(
                outputs,
                inputs,
                directions,
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=True,
            )
    except RuntimeError:
        return None
    return found


def _alone(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], direction: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    found = torch.autograd.grad(outputs, inputs, direction, retain_graph=True, allow_unused=True)
    return [None if one is None else one[None] for one in found]


def _joined(parts: Sequence[Tensor | None], like: Tensor, rows: int) -> Tensor:
    # Whether an input is reached is the graph's, and so the same for all directions.
    found = [part for part in parts if part is not None]
    return torch.cat(found).detach() if found else like.new_zeros(rows, *like.shape)
