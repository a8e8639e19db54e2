"""Which algebra is cheaper, from a count of floating-point operations and bytes.

All choices between forms are made here, so that they can be read, and argued with, in one place.
A choice changes time and memory, never a number beyond rounding.

Counted for a weight of O x I with S positions per example, G groups, in multiply-adds:

    a product of one query with one training example
        factored       S_q * S_n * (I + O)          two Gram blocks and their Hadamard product
        materialised   I * O                        plus S_n * I * O once per training example
        a table        S * E where a position looks its row up, each number read from memory;
                       V * E where both sides are written out, plus 2 * V * E to write one
    a squared norm
        factored       S * S * (I + O)
        materialised   S * I * O
    windows of a convolution that are copied out
        all            S * I numbers
        in bands       S * I / K, with K offsets along the kernel's first axis
        as groups      none

A matrix product moves little memory per operation; writing a gradient out and reading it back
does. `BYTES_WEIGHT` says how many multiply-adds fit in the time of one byte to or from memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from headwater.forms.convolved import Convolved
    from headwater.forms.factored import Factored
    from headwater.forms.rows import Rows

# About 50 GFLOP/s and 12 GB/s of one core of a laptop or server CPU: 4 operations, 2 of them in a
# multiply-add, per byte. A GPU's ratio is higher; being off by 4 shifts only near-ties.
BYTES_WEIGHT = 2.0

# Scratch that stays in the last-level cache. Blocks larger than this fault in fresh pages at a
# fraction of the speed of memory, so products are tiled to it.
SCRATCH_BYTES = 4 * 2**20

# With so many examples at a time a product of matrices has work enough for every number that
# comes from memory: 4 bytes at 12 GB/s take as long as some 16 multiply-adds.
ENOUGH_EXAMPLES = 32
LARGEST_PIECE_BYTES = 64 * 2**20

# MKL's products for AVX-512 take sixteen queries into a register, if they stand side by side.
FEWEST_SIDE_BY_SIDE = 16


def _gradient_numbers(form: Factored | Convolved) -> int:
    return form.groups * form.fan_in * form.fan_out


def _factor_numbers(form: Factored | Convolved) -> int:
    return form.groups * (form.fan_in + form.fan_out)


def norm_is_cheaper_factored(
    form: Factored | Convolved, *, copied_factored: float = 0, copied_written: float = 0
) -> bool:
    """Whether a squared norm costs less from the factors than from the gradient written out.

    Args:
        form: the gradients.
        copied_factored: how many numbers per example are copied out before the factors can be used.
        copied_written: the same before the gradient can be written out.
    """
    positions, itemsize = form.positions, form.inputs.element_size()
    factored = float(positions * positions * _factor_numbers(form))
    factored += BYTES_WEIGHT * itemsize * 2 * positions * positions * form.groups
    materialised = float(positions * _gradient_numbers(form))
    materialised += BYTES_WEIGHT * itemsize * 2 * _gradient_numbers(form)
    factored += BYTES_WEIGHT * itemsize * 2 * copied_factored
    materialised += BYTES_WEIGHT * itemsize * 2 * copied_written
    return factored < materialised


def pairs_are_cheaper_factored(
    form: Factored | Convolved, *, queries: int, query_positions: int
) -> bool:
    """Whether products with `queries` queries cost less from the factors of both sides.

    Counted per training example; a query's own gradient is written out once per checkpoint and
    used for all training examples, so that its cost vanishes.
    """
    positions, itemsize = form.positions, form.inputs.element_size()
    if positions == query_positions == 1:
        return True
    blocks = queries * query_positions * positions
    factored = blocks * (_factor_numbers(form) + BYTES_WEIGHT * itemsize * 2 * form.groups)
    numbers = _gradient_numbers(form)
    materialised = numbers * (positions + queries + BYTES_WEIGHT * itemsize * 2)
    return factored < materialised


def table_is_cheaper_written_out(form: Rows, *, queries: int) -> bool:
    """Whether products of a table's gradients with `queries` queries cost less written out.

    Written out they are one matrix product; looked up, every number of a product comes from memory.
    """
    traffic = BYTES_WEIGHT * form.values.element_size() * 2
    written_out = form.table_rows * (queries + traffic)
    looked_up = queries * form.positions * (1 + traffic)
    return written_out < looked_up


def bands_are_cheaper(form: Convolved) -> bool:
    """Whether a kernel's gradient is best written out offset by offset along its first axis.

    With K offsets, K times fewer numbers are copied out, in K products of K times fewer columns;
    below some dozens of columns a matrix product loses its speed.
    """
    steps = form.kernel_size[0]
    return steps > 1 and form.fan_in // steps >= 32


def groups_are_cheaper(form: Convolved) -> bool:
    """Whether a kernel's gradients are best written out by one convolution, each example a group.

    Nothing is copied out, but channels have to come in blocks of eight, and gradients are written
    with few of their numbers at a time in registers: each should be a sum over many positions.
    """
    channels = (form.inputs.shape[1] // form.groups, form.fan_out)
    return form.positions >= 6 * max(channels) and not any(width % 8 for width in channels)


def side_by_side_is_faster(gradients: Tensor) -> bool:
    """Whether products with written-out gradients are faster if they lie number by number.

    By measurement, of this one library alone; that of others doesn't care, or is slower so.
    """
    return (
        len(gradients) >= FEWEST_SIDE_BY_SIDE
        and gradients.device.type == "cpu"
        and gradients.dtype in (torch.float32, torch.float64)
        and torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )


def factors_are_smaller(form: Factored | Convolved) -> bool:
    """Whether the factors are fewer numbers than the gradient written out."""
    return form.positions * _factor_numbers(form) < _gradient_numbers(form)


def runs_of_outputs(form: Factored) -> int:
    """In how many runs of outputs an example's gradient is best written out.

    In one, unless it is larger than any piece may be: then in as many as stay in the cache.
    """
    nbytes = _gradient_numbers(form) * form.inputs.element_size()
    if form.groups > 1 or nbytes <= LARGEST_PIECE_BYTES:
        return 1
    return min(form.fan_out, -(-nbytes // SCRATCH_BYTES))


def two_sided_sketch_is_cheaper(rows: int, columns: int, *, dim: int) -> bool:
    """Whether a matrix is sketched from its factors rather than written out and then sketched.

    From the factors a position takes two Fourier transforms of `dim` numbers, about as long as
    writing out twice as many entries; written out, every entry is sketched once more.
    """
    return rows > 1 and columns > 1 and rows * columns > 4 * dim


def numbers_of_a_piece(numbers_each: int, *, queries: int, itemsize: int) -> float:
    """How much of the scratch an example's gradient is counted as where it is written out.

    The queries are read from memory anew for every piece of examples. Where a gradient all but
    fills the cache, a piece of some dozens that doesn't fit makes up for that.

    Args:
        numbers_each: the length of a gradient.
        queries: how many gradients meet those of a piece.
        itemsize: bytes of a number.
    """
    at_least = min(queries, ENOUGH_EXAMPLES, LARGEST_PIECE_BYTES // (numbers_each * itemsize))
    return min(numbers_each, SCRATCH_BYTES / (itemsize * max(1, at_least)))


def examples_per_scratch(numbers_each: float, itemsize: int) -> int:
    """How many examples of `numbers_each` numbers fit the scratch; at least one."""
    return max(1, int(SCRATCH_BYTES / max(1, numbers_each * itemsize)))


def examples_per_piece(size: int, numbers_each: float, itemsize: int) -> int:
    """How many of `size` examples to take at a time, as equal pieces that fit the scratch.

    A product with the few of a rest takes nearly as long as one with some more.
    """
    pieces = -(-size // examples_per_scratch(numbers_each, itemsize))
    return max(1, -(-size // max(1, pieces)))
