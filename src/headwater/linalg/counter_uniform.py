"""Random numbers that are a function of where they are used, and of no generator's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.linalg.widest import widest

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

_ODD = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15, as the signed number that torch has room for
_FIRST = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_SECOND = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


def counter_uniform(
    seed: int, rows: Int[Tensor, " B"], columns: Int[Tensor, " S"]
) -> Float[Tensor, "B S"]:
    """A number in (0, 1) for every pair of a row and a column, in float64 where there is that.

    The same pair has the same number in whatever batch it is met, and on whatever device, to the
    precision of its numbers.

    Args:
        seed: another seed gives numbers that are independent of these.
        rows, columns: counters, of at least 0.

    Source: the output function of SplitMix64, Steele, Lea and Flood (2014), on counters.
    """
    mixed = _mixed(rows + _wrapped(seed * 0x9E3779B97F4A7C15))
    mixed = _mixed(mixed[:, None] + columns * _ODD)
    # As many bits as the numbers have, but one, so that the middle of the interval can be taken: 0
    # and 1 would be no outcome of a continuous draw.
    dtype = widest(rows.device)
    bits = 52 if dtype == torch.float64 else 23
    return (_shifted(mixed, 64 - bits).to(dtype) + 0.5) * 2.0**-bits


def _mixed(z: Tensor) -> Tensor:
    z = z * _ODD + _ODD
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    # torch shifts the sign in; the bits that come in are to be zero.
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _wrapped(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63
