"""How the work of an answer is divided so that what is held at once fits a budget."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from headwater.engine.batch_size import CACHE_BYTES
from headwater.engine.quantity import whole
from headwater.forms import Gradients, OfOutputs, Outputs
from headwater.forms.gradients import Block

if TYPE_CHECKING:
    from collections.abc import Callable

    from headwater.engine.checked import CheckedCapture
    from headwater.engine.quantity import Quantity
    from headwater.forms import Form

logger = logging.getLogger("headwater")

_MANY_PASSES = 8

Group: TypeAlias = Mapping[Block, "Outputs | None"]
"""Blocks of parameters, each with the outputs that count; None: all of them."""


@dataclass(frozen=True)
class WorkPlan:
    """What is held at once, and so how often the training data is gone over.

    Attributes:
        budget: bytes to be used beyond the model, one batch and the result.
        batch_size: training examples, and queries, that are captured at a time.
        rows: how many rows the answer has: queries, mostly.
        rows_at_once: how many are held at a time.
        groups: the parameters' blocks whose gradients are held at a time, group after group, each
            with the outputs that count where these are not all; one empty group for all at once.
        resident: whether every checkpoint's weights and queries stay in memory.
        held: bytes of queries that are held at a time, as far as a look at a few of them tells;
            with those of all checkpoints, if these are resident.
        enough: the budget within which all queries, with all layers, are held at once.
    """

    budget: int
    batch_size: int
    rows: int
    rows_at_once: int
    groups: tuple[Group, ...]
    resident: bool
    held: float
    enough: int

    @property
    def divided(self) -> int:
        """How many layers are so large that their outputs are divided."""
        parts = [block for group in self.groups for block, part in group.items() if part]
        return len(set(parts))

    @property
    def passes(self) -> int:
        """How often each checkpoint goes over the training data."""
        return -(-self.rows // self.rows_at_once) * len(self.groups)

    def tell_of_many_passes(self) -> None:
        """Says why it takes so long, where it does."""
        if self.passes > _MANY_PASSES:
            logger.warning(
                "within a memory_budget of %s bytes the training data is gone over %s times at "
                "every checkpoint; from %s bytes on, once",
                *(f"{number:,}" for number in (self.budget, self.passes, self.enough)),
            )


# What is held of all checkpoints without a second thought: about what a batch takes.
_LITTLE = CACHE_BYTES


def planned(
    checked: CheckedCapture,
    quantity: Quantity,
    *,
    batch_size: int,
    sample: int,
    row_bytes: float,
    budget: int,
    checkpoints: int | None,
    weights: int,
    shapes: Mapping[str, tuple[int, ...]],
    accumulated: int | None = None,
) -> WorkPlan:
    """The division that goes over the training data the least often.

    Where the data lies in memory, so that going over it again costs nothing, it is the division
    that holds the least, of those that do no more work.

    Rows are divided first. Where not even one fits half the budget, a score is added up over groups
    of layers, and where a layer doesn't fit, over groups of its outputs.

    Args:
        checked: captures queries at present weights.
        quantity: what is computed.
        batch_size: how many queries to capture at a time.
        sample: how many to capture for a look at what they take.
        row_bytes: what is held of one of them, with all layers.
        budget: bytes, of which a half is for queries and resident weights.
        checkpoints: how many there are, if they can all be resident; None if not.
        weights: bytes of a checkpoint's.
        shapes: of the parameters.
        accumulated: bytes of what adds up over checkpoints one after another, where data that lies
            in memory allows for that order without a price; else None.
    """
    share = budget // 2
    # Twice what is held: query batches are joined by copying a block at a time, of maybe one.
    row_bytes *= 2
    rows_bytes = row_bytes * quantity.rows
    enough = 2 * math.ceil(rows_bytes)
    if checkpoints is not None and checkpoints * (rows_bytes + weights) <= share:
        spared = (checkpoints - 1) * (rows_bytes + weights)
        resident = accumulated is None or spared <= max(_LITTLE, accumulated)
        held = checkpoints * rows_bytes if resident else rows_bytes
        return WorkPlan(
            budget, batch_size, quantity.rows, quantity.rows, _ALL, resident, held, enough
        )
    at_once = min(quantity.rows, max(1, int(share / max(1.0, row_bytes))))
    groups = _ALL
    held = at_once * row_bytes
    if held > share and quantity.is_divisible:
        groups, held = _groups(checked, quantity, sample, share, shapes)
    return WorkPlan(budget, batch_size, quantity.rows, at_once, groups, False, held, enough)


_ALL: tuple[Group, ...] = ({},)


class SomeLayers:
    """Of queries' gradients those of one group of layers, or of some of a layer's outputs.

    Args:
        groups: those of a `WorkPlan`.
        number: which of them; the last has what is in no other.
    """

    def __init__(self, groups: tuple[Group, ...], number: int) -> None:
        self._kept = groups[number]
        self._is_last = number == len(groups) - 1
        self._others: set[Block] = set().union(*groups[:-1])

    def __call__(self, gradients: Gradients) -> Gradients:
        forms: dict[Block, Form] = {}
        for block, form in gradients.forms.items():
            outputs = self._kept.get(block)
            if outputs is not None:
                forms[block] = OfOutputs.held(form, outputs)
            elif block in self._kept or (self._is_last and block not in self._others):
                forms[block] = form
        return Gradients(forms, gradients.batch_size, gradients.like)


def _groups(
    checked: CheckedCapture,
    quantity: Quantity,
    sample: int,
    share: int,
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[tuple[Group, ...], float]:
    """Neighbouring layers, or parts of one, in as few groups as fit; and the bytes of the largest.

    Args:
        share: bytes that a group may take.
        shapes: of the parameters.
    """
    seen: list[Gradients] = []

    def once(*args: Any, **options: Any) -> Gradients:
        # The same few queries for every layer.
        if not seen:
            seen.append(checked(*args, **options).without_numbers())
        return seen[0]

    def bytes_of(block: Block, outputs: Outputs | None = None) -> float:
        only = SomeLayers(({block: outputs}, {}), 0)
        return 2 * quantity.row_bytes(once, only, sample)

    quantity.row_bytes(once, whole, sample)
    groups: list[dict[Block, Outputs | None]] = [{}]
    held, largest = 0.0, 0.0
    for block, form in seen[0].forms.items():
        # What a projection made of all gradients is no parameter's.
        own = tuple(tuple(shapes[name]) for name in block if name in shapes)
        outputs = Outputs.all_of(form, own)
        for part, nbytes in _parted(partial(bytes_of, block), outputs, share):
            if groups[-1] and (held + nbytes > share or block in groups[-1]):
                groups.append({})
                held = 0.0
            groups[-1][block] = part
            held += nbytes
            largest = max(largest, held)
    return tuple(groups), largest


def _parted(
    bytes_of: Callable[[Outputs | None], float], outputs: Outputs | None, share: int
) -> list[tuple[Outputs | None, float]]:
    """A layer whole, or where that doesn't fit, parts of its outputs that do; with their bytes."""
    whole = bytes_of(None)
    if outputs is None or whole <= share:
        return [(None, whole)]
    parts, found = -(-int(whole) // max(1, share)), [(outputs, whole)]
    while found[0][1] > share and len(found) < outputs.extent:
        smaller = [(part, bytes_of(part)) for part in outputs.parted(min(parts, outputs.extent))]
        # What went into a layer is held by every part.
        if len(found) > 1 and smaller[0][1] > 0.9 * found[0][1]:
            break
        parts, found = 2 * parts, smaller
    return list(found)
