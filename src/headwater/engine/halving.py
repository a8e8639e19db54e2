"""Batches in halves, from where a whole one has run out of memory."""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from headwater.errors import OutOfMemoryError
from headwater.tasks.out_of_memory import ran_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from headwater.tasks import Task

logger = logging.getLogger("headwater")

Found = TypeVar("Found")

_LONGEST_REASON = 160


class Halving:
    """Computes on batches whole, or on as many of their examples at a time as fit into memory.

    What once didn't fit is not tried again: examples of that kind go on in parts of half the size.
    Parts come to what the whole would have, but for the rounding that depends on the batch size.
    """

    def __init__(self) -> None:
        self._most: dict[str, int] = {}
        self._said = False

    def parts(
        self,
        compute: Callable[[Any, int], Found],
        task: Task,
        batch: Any,
        *,
        first: int,
        kind: str,
        may_be_cut: bool,
    ) -> list[Found]:
        """What is computed of a batch, or of the parts that fit, in order.

        Args:
            compute: from a batch and the index of its first example.
            task: cuts the batch.
            batch: the examples.
            first: the index of the batch's first example.
            kind: what the examples are called in messages.
            may_be_cut: whether an example cut out of the batch is what it is in it.

        Raises:
            OutOfMemoryError: a single example, or a batch that may not be cut, doesn't fit.
        """
        why = ""
        size = task.size(batch) if may_be_cut and kind in self._most else None
        if size is None:
            try:
                return [compute(batch, first)]
            except Exception as error:
                # Kept no longer than this clause: its frames hold the memory that ran out.
                size = task.size(batch) if may_be_cut else None
                why = self._halved(error, size, first=first, kind=kind)
            assert size is not None, "of an unknown size nothing is halved"
        return self._in_parts(compute, task, batch, size, first=first, kind=kind, why=why)

    def _in_parts(
        self,
        compute: Callable[[Any, int], Found],
        task: Task,
        batch: Any,
        size: int,
        *,
        first: int,
        kind: str,
        why: str,
    ) -> list[Found]:
        found: list[Found] = []
        start, before = 0, size
        while start < size:
            if why:
                _release()
            stop = min(start + self._most[kind], size)
            part = batch
            if stop - start < size:
                part = task.examples(batch, start, stop, size=size)
            try:
                found.append(compute(part, first + start))
            except Exception as error:
                why = self._halved(error, stop - start, first=first + start, kind=kind)
                continue
            start = stop
            if why:
                self._say(before, kind, why)
                why = ""
        return found

    def beginning(
        self,
        compute: Callable[[Any], Found],
        smaller: Callable[[int], Any],
        task: Task,
        batch: Any,
        *,
        kind: str,
    ) -> tuple[Any, Found]:
        """As much of a batch's beginning as fits, and what is computed of it.

        Args:
            compute: from a batch.
            smaller: the beginning, of so many examples.
            task: tells a batch's size.
            batch: what is tried first.
            kind: what the examples are called in messages.

        Raises:
            OutOfMemoryError: as `parts`; or `smaller` doesn't give a smaller batch.
        """
        before, why = task.size(batch), ""
        while True:
            size = task.size(batch)
            try:
                found = compute(batch)
            except Exception as error:
                why = self._halved(error, size, first=0, kind=kind)
                batch = smaller(self._most[kind])
                if task.size(batch) != self._most[kind]:
                    raise too_large(_reason(error), None, first=0, kind=kind) from error
            else:
                if why:
                    self._say(before, kind, why)
                return batch, found
            _release()

    def _halved(self, error: Exception, size: int | None, *, first: int, kind: str) -> str:
        """Goes down to half a size that didn't fit; why it didn't, in the allocator's words."""
        if not ran_out_of_memory(error):
            raise error
        if size is None or size < 2:
            raise too_large(_reason(error), size, first=first, kind=kind) from error
        self._most[kind] = size // 2
        return _reason(error)

    def _say(self, before: int | None, kind: str, why: str) -> None:
        plural = "queries" if kind == "query" else f"{kind}s"
        logger.log(
            logging.INFO if self._said else logging.WARNING,
            "headwater: %s %s at a time ran out of memory (%s); going on with %d at a time, "
            "to the same results but for rounding",
            before,
            plural,
            why,
            self._most[kind],
        )
        self._said = True


def too_large(why: str, size: int | None, *, first: int, kind: str) -> OutOfMemoryError:
    """The error for what can't be halved any more.

    Args:
        why: what the allocator said.
        size: 1 for a single example; None for a batch that can't be cut.
        first: the index of the batch's first example.
        kind: what the examples are called.
    """
    way_out = (
        "form=Projected(...), fewer parameters (layers=...), activation checkpointing in the "
        "model, or a smaller memory_budget, within which queries and checkpoints are held"
    )
    if size == 1:
        return OutOfMemoryError(
            f"{kind} {first} alone doesn't fit into memory ({why}); what takes less: shorter "
            f"examples, {way_out}"
        )
    plural = "queries" if kind == "query" else f"{kind}s"
    return OutOfMemoryError(
        f"a batch of {plural} ran out of memory ({why}; its first: {first}), and can't be cut into "
        f"its examples to go on with half of it; give smaller batches (batch_size=..., or the "
        f"loader's own). What else takes less: {way_out}"
    )


def _reason(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."


def _release() -> None:
    """Gives back what a failed attempt held."""
    # An exception and its frames refer to each other.
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
