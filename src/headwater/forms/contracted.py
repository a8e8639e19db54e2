"""Products of dense matrices with gradients of rank one, which are never written out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms.cost import examples_per_scratch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.factored import Factored


def dot_contracted(left: Float[Tensor, "Q P"], examples: Factored) -> Float[Tensor, "Q B"]:
    """<M, d x^T> = d . M x, summed over groups, for gradients of one position.

    As many multiply-adds as with d x^T written out; what is written are Q * min(I, O) numbers per
    example in place of I * O, which leave the cache where there are not hundreds of queries.

    Args:
        left: Q matrices in the order of the parameters' storage, with the bias's entries last.
        examples: B gradients.
    """
    size = examples.groups * examples.fan_out * examples.fan_in
    layout = (-1, examples.groups, examples.fan_out, examples.fan_in)
    if examples.layout == "io":
        layout = (-1, examples.groups, examples.fan_in, examples.fan_out)
    matrices = left[:, :size].reshape(layout)
    if examples.layout == "io":
        matrices = matrices.mT
    result = left.new_zeros(len(left), examples.batch_size)
    for group in range(examples.groups):
        rows, sums = examples.inputs[:, group, 0], examples.output_grads[:, group, 0]
        maps = matrices[:, group].mT
        if examples.fan_in < examples.fan_out:
            # What is summed first is the longer side, so that the shorter one is what is written.
            rows, sums, maps = sums, rows, maps.mT
        width = examples_per_scratch(examples.batch_size * sums.shape[1], left.element_size())
        for start in range(0, len(left), width):
            part = maps[start : start + width]
            reached = torch.tensordot(rows, part, dims=([1], [1]))
            result[start : start + width] += torch.bmm(reached, sums[:, :, None])[:, :, 0].mT
        if examples.bias:
            biases = left[:, size:].unflatten(1, (examples.groups, -1))[:, group]
            result.addmm_(biases, examples.output_grads[:, group, 0].mT)
    return result
