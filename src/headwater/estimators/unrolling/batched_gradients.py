"""Several products with one Jacobian in one backward pass."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor


def batched_gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], directions: Sequence[Tensor]
) -> list[Tensor]:
    """For each of R directions the gradient of <outputs, direction>, one tensor per input.

    Args:
        outputs: what is differentiated; what depends on nothing is left out.
        inputs: by what.
        directions: as many as outputs, each with a leading axis of length R.

    Returns:
        per input R gradients, zero where no output depends on it; the graph is kept.
    """
    rows = directions[0].shape[0]
    pairs = [
        (output, direction)
        for output, direction in zip(outputs, directions, strict=True)
        if output.requires_grad
    ]
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if pairs:
        ends, ways = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        try:
            with warnings.catch_warnings():
                # An operator without a rule for it goes row by row, which is what is wanted.
                warnings.filterwarnings("ignore", message="There is a performance drop")
                found = _gradients(ends, inputs, ways, batched=True)
        except RuntimeError:
            # Operators that can't be vectorised at all.
            by_row = [
                _gradients(ends, inputs, [way[row] for way in ways], batched=False)
                for row in range(rows)
            ]
            found = [
                None if column[0] is None else torch.stack(list(column))
                for column in zip(*by_row, strict=True)
            ]
    return [
        tensor.new_zeros(rows, *tensor.shape) if gradient is None else gradient
        for tensor, gradient in zip(inputs, found, strict=True)
    ]


def _gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    directions: Sequence[Tensor],
    *,
    batched: bool,
) -> Sequence[Tensor | None]:
    found: Sequence[Tensor | None] = torch.autograd.grad(
        outputs,
        inputs,
        directions,
        retain_graph=True,
        allow_unused=True,
        is_grads_batched=batched,
    )
    return found
