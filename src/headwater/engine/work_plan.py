"""How the work of an answer is divided so that what is held at once fits a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headwater.forms import Gradients

if TYPE_CHECKING:
    from headwater.engine.checked import CheckedCapture
    from headwater.engine.quantity import Quantity
    from headwater.forms.gradients import Block


@dataclass(frozen=True)
class WorkPlan:
    """What is held at once, and so how often the training data is gone over.

    Attributes:
        budget: bytes to be used beyond the model, one batch and the result.
        batch_size: training examples, and queries, that are captured at a time.
        rows: how many rows the answer has: queries, mostly.
        rows_at_once: how many are held at a time.
        groups: the parameters' blocks whose gradients are held at a time, group after group; one
            empty group for all at once.
        resident: whether every checkpoint's weights and queries stay in memory.
        held: bytes of queries that are held at a time, as far as a look at a few of them tells;
            with those of all checkpoints, if these are resident.
    """

    budget: int
    batch_size: int
    rows: int
    rows_at_once: int
    groups: tuple[frozenset[Block], ...]
    resident: bool
    held: float

    @property
    def passes(self) -> int:
        """How often each checkpoint goes over the training data."""
        return -(-self.rows // self.rows_at_once) * len(self.groups)


# What is held of all checkpoints without a second thought: about what a batch takes.
_LITTLE = 64 * 2**20


def planned(
    checked: CheckedCapture,
    quantity: Quantity,
    *,
    batch_size: int,
    sample: int,
    budget: int,
    checkpoints: int | None,
    weights: int,
    accumulated: int | None = None,
) -> WorkPlan:
    """The division that goes over the training data the least often.

    Where the data lies in memory, so that going over it again costs nothing, it is the division
    that holds the least, of those that do no more work.

    Rows are divided first. Where not even one fits half the budget, a score is added up over groups
    of layers; a layer is never divided, so that the largest is what must fit.

    Args:
        checked: captures queries at present weights.
        quantity: what is computed.
        batch_size: how many queries to capture at a time.
        sample: how many to capture for a look at what they take.
        budget: bytes, of which a half is for queries and resident weights.
        checkpoints: how many there are, if they can all be resident; None if not.
        weights: bytes of a checkpoint's.
        accumulated: bytes of what adds up over checkpoints one after another, where data that lies
            in memory allows for that order without a price; else None.
    """
    share = budget // 2
    # Twice what is held: query batches are joined by copying a block at a time, of maybe one.
    row_bytes = 2 * quantity.row_bytes(checked, sample)
    whole = row_bytes * quantity.rows
    if checkpoints is not None and checkpoints * (whole + weights) <= share:
        spared = (checkpoints - 1) * (whole + weights)
        resident = accumulated is None or spared <= max(_LITTLE, accumulated)
        held = checkpoints * whole if resident else whole
        return WorkPlan(budget, batch_size, quantity.rows, quantity.rows, _ALL, resident, held)
    at_once = min(quantity.rows, max(1, int(share / max(1.0, row_bytes))))
    groups = _ALL
    held = at_once * row_bytes
    if held > share and quantity.adds_over_layers:
        groups, held = _groups(checked, quantity, sample, share)
    return WorkPlan(budget, batch_size, quantity.rows, at_once, groups, False, held)


_ALL: tuple[frozenset[Block], ...] = (frozenset(),)


class SomeLayers:
    """Captures, and keeps the gradients of some layers only.

    Args:
        checked: captures.
        groups: those of a `WorkPlan`.
        number: which of them is kept; the last has what is in no other.
    """

    def __init__(
        self, checked: CheckedCapture, groups: tuple[frozenset[Block], ...], number: int
    ) -> None:
        self._checked = checked
        self._kept = groups[number] if number < len(groups) - 1 else None
        self._others: frozenset[Block] = frozenset().union(*groups[:-1])

    @property
    def checkpoint(self) -> int:
        """The place of the checkpoint whose weights the model has."""
        return self._checked.checkpoint

    def __call__(self, *args: Any, **options: Any) -> Gradients:
        gradients = self._checked(*args, **options)
        forms = {
            block: form
            for block, form in gradients.forms.items()
            if (block not in self._others if self._kept is None else block in self._kept)
        }
        return Gradients(forms, gradients.batch_size, gradients.like)


def _groups(
    checked: CheckedCapture, quantity: Quantity, sample: int, share: int
) -> tuple[tuple[frozenset[Block], ...], float]:
    """Neighbouring layers in as few groups as fit; and the bytes of the largest."""
    seen: list[Gradients] = []

    def once(*args: Any, **options: Any) -> Gradients:
        # The same few queries for every layer.
        if not seen:
            seen.append(checked(*args, **options))
        return seen[0]

    def bytes_of(block: Block) -> float:
        def capture(*args: Any, **options: Any) -> Gradients:
            found = once(*args, **options)
            return Gradients({block: found.forms[block]}, found.batch_size, found.like)

        return 2 * quantity.row_bytes(capture, sample)

    quantity.row_bytes(once, sample)
    groups: list[list[Block]] = [[]]
    held, largest = 0.0, 0.0
    for block in seen[0].forms:
        nbytes = bytes_of(block)
        if groups[-1] and held + nbytes > share:
            groups.append([])
            held = 0.0
        groups[-1].append(block)
        held += nbytes
        largest = max(largest, held)
    return tuple(frozenset(group) for group in groups), largest
