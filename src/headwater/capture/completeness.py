"""The check that captured gradients are complete and credited to the right examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms import Gradients


# No powers of two, by which scaling would round nothing anew. Several, since one of them may happen
# to round little in a parameter of few entries.
OTHER_SCALES = (0.7, 0.9, 0.6)
_ROUNDING_MARGIN = 16


def random_weights(size: int, like: Tensor) -> Float[Tensor, " B"]:
    """A weight per example, all different; the same ones on every call, from no global generator.

    With weights of 1 the check would see only that nothing is missing. With random ones it also
    sees a gradient that was credited to another example of the batch.
    """
    generator = torch.Generator().manual_seed(20200219)
    weights = 0.5 + torch.rand(size, generator=generator, dtype=torch.float64)
    # One after the other: some devices have no float64 to convert from.
    return weights.to(like.dtype).to(like.device)


def disagreements(
    captured: Gradients,
    expected: Mapping[str, Tensor],
    weights: Float[Tensor, " B"],
    rescaled: Sequence[Mapping[str, Tensor]] = (),
    *,
    sizes: Mapping[str, int] | None = None,
    part: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, float]:
    """The parameters whose weighted sum of captured gradients isn't autograd's, with by how much.

    Args:
        captured: the per-example gradients in question.
        expected: for every selected parameter, autograd's gradient of the weighted sum of losses.
        weights: the weights r_i.
        rescaled: `expected` computed anew from losses times one of `OTHER_SCALES`, then divided by
            it. By how much they differ is autograd's own rounding, which is large where gradients
            cancel inside the model, as behind a normalisation of very few entries, or where a part
            of it computes in a lower precision.
        sizes: how many entries a parameter's whole gradient has; None: as many as `expected`.
        part: which of them are in `expected`; None: all.

    Returns:
        by parameter name, the norm of the difference over that of the sum of |r_i g_i|.
    """
    found: dict[str, float] = {}
    covered: set[str] = set()
    for block, form in captured.forms.items():
        covered.update(block)
        lengths = [expected[n].numel() if sizes is None else sizes[n] for n in block]
        sums = _parts(form.weighted_sum(weights), lengths, part)
        distances = [_distance(total, expected[n]) for n, total in zip(block, sums, strict=True)]
        # Whether they agree even without a look at how large the terms were.
        if all(
            _share(distance, expected[name].norm()) <= _tolerance(expected[name])
            for name, distance in zip(block, distances, strict=True)
        ):
            continue
        # Entries may nearly cancel over the batch, as they do near an optimum; what rounding can
        # do is bounded by the sum of magnitudes, not by the sum.
        bounds = _parts(form.magnitudes().weighted_sum(weights), lengths, part)
        for name, distance, bound in zip(block, distances, bounds, strict=True):
            scale = torch.maximum(bound, expected[name].flatten().abs()).norm()
            error = _share(distance, scale)
            roundings = [
                _share(_distance(again[name].flatten().clone(), expected[name]), scale)
                for again in rescaled
            ]
            rounding = max(roundings, default=0.0)
            if not error <= max(_tolerance(expected[name]), _ROUNDING_MARGIN * rounding):
                found[name] = error
    for name, gradient in expected.items():
        # No form says that the gradient is zero.
        if name not in covered and bool(gradient.count_nonzero()):
            found[name] = 1.0
    return found


def _parts(flat: Tensor, sizes: list[int], part: Callable[[Tensor], Tensor] | None) -> list[Tensor]:
    """Each parameter's entries of a block's flat gradient, or the part of them in question."""
    each = list(flat.split(sizes))
    return each if part is None else [part(entries) for entries in each]


def _distance(total: Tensor, expected: Tensor) -> Tensor:
    """The norm of the difference; `total`, which is flat, is used up.

    Fresh memory for a difference takes longer than the difference.
    """
    difference = total.sub_(expected.flatten().to(total.dtype))
    norm: Tensor = difference.norm()
    return norm


def _share(distance: Tensor, scale: Tensor) -> float:
    return 0.0 if not distance else float(distance / scale)


def _tolerance(expected: Tensor) -> float:
    # About 4e-10 in float64, 7e-5 in float32, 5e-2 in bfloat16: far above rounding, far below
    # what a gradient of another example would make.
    return float(torch.finfo(expected.dtype).eps ** 0.6)
