"""A series of checkpoints bound to its model: loaded one after another, each with its rate."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from headwater.checkpoints.live import memory_of, refuse_live_state
from headwater.checkpoints.loader import (
    RATE_WITHOUT_ANY,
    default_checkpoints_load_func,
    in_memory,
    missing_rate,
    read_contents,
    stored_rate,
)
from headwater.checkpoints.naming import full_name, short_name
from headwater.checkpoints.rates import as_rates, as_returned_rate, wrong_count
from headwater.checkpoints.source import open_source
from headwater.checkpoints.state import load_state
from headwater.errors import HeadwaterWarning, InputError, NoCheckpointsError

_END = object()


@dataclass(frozen=True)
class LoadedCheckpoint:
    """The checkpoint that the model holds now: its place, what it is called, its learning rate."""

    index: int
    name: str
    rate: float


class BoundSeries:
    """The checkpoints of one training run, as an estimator goes through them.

    Args:
        model: what checkpoints are loaded into; putting its own weights back is the caller's part.
        checkpoints: a folder or a file, by path; or an iterable of paths, of state dicts, of
            (path or state, rate) pairs, or of anything that a `load_func` of the user's own
            understands, which gets the items untouched.
        load_func: loads a checkpoint into the model and returns the learning rate.
        learning_rates: one per checkpoint; they win over all rates that checkpoints come with.

    Raises:
        NoCheckpointsError: there is no checkpoint.
        LearningRateError: `learning_rates` holds no rates, or not one per checkpoint.
        CheckpointError: `checkpoints` is nothing that checkpoints can be taken from.
    """

    def __init__(
        self,
        model: nn.Module,
        checkpoints: object,
        load_func: Callable[[nn.Module, Any], object],
        learning_rates: Iterable[object] | None = None,
    ) -> None:
        if not callable(load_func):
            raise InputError(
                f"checkpoints_load_func is of type {type(load_func).__name__}; expected a function "
                "(model, checkpoint) -> learning rate"
            )
        self._model = model
        self._load_func = load_func
        self._by_default = load_func is default_checkpoints_load_func
        self._source = open_source(checkpoints, any_format=not self._by_default)
        self._rates = None if learning_rates is None else as_rates(learning_rates, self.count)
        # Noted now: while a call lasts, the model works on copies of its weights.
        self._own_memory = memory_of(model)
        self._started = False
        self._warned = False

    @property
    def count(self) -> int | None:
        """How many checkpoints there are; None if only going through them will tell."""
        return self._source.count

    @property
    def replayable(self) -> bool:
        """Whether the series can be visited more than once (a generator cannot)."""
        return self._source.replayable

    def visit(self) -> Generator[LoadedCheckpoint, None, None]:
        """Load one checkpoint after another, each when the iterator is advanced to it.

        Only one checkpoint is held at a time, and none any more once it is in the model.

        Raises:
            NoCheckpointsError: there is none, or the checkpoints' generator was read before.
            LearningRateError: a rate is missing or is none, or `learning_rates` has too many.
            CheckpointError: a checkpoint can't be loaded; see `default_checkpoints_load_func`.
                Errors of a `load_func` of the user's own come through unchanged.
        """
        if self._started and not self.replayable:
            raise NoCheckpointsError(
                "the checkpoints come from a generator, which can be read only once; pass a list"
            )
        self._started = True
        items = iter(self._source.items)
        for index in itertools.count():
            item = next(items, _END)
            if item is _END:
                self._end(index)
                return
            loaded = LoadedCheckpoint(index, short_name(item, index), self._load(item, index))
            # Or else it would stay alive until the next one has been made.
            del item
            yield loaded

    def _end(self, count: int) -> None:
        if count == 0:
            raise NoCheckpointsError(
                "the iterable of checkpoints yields nothing; expected at least one checkpoint (one "
                "that was read before may be exhausted: pass a list)"
            )
        if self._rates is not None and count < len(self._rates):
            raise wrong_count(str(len(self._rates)), str(count))

    def _load(self, item: object, index: int) -> float:
        if self._rates is not None and index >= len(self._rates):
            raise wrong_count(str(len(self._rates)), f"at least {index + 1}")
        name = full_name(item, index)
        with torch.no_grad():
            rate = (
                self._load_default(item, name) if self._by_default else self._load_own(item, name)
            )
        return rate if self._rates is None else self._rates[index]

    def _load_own(self, item: object, name: str) -> float:
        returned = self._load_func(self._model, item)
        return RATE_WITHOUT_ANY if self._rates is not None else as_returned_rate(returned, name)

    def _load_default(self, item: object, name: str) -> float:
        contents = read_contents(self._model, item, name)
        rate = None if self._rates is not None else stored_rate(contents, name)
        if in_memory(item) and self.count != 1:
            refuse_live_state(self._own_memory, contents.state, name)
        load_state(self._model, contents.state, name)
        if rate is not None:
            return rate
        if self._rates is None and not self._warned:
            self._warned = True
            warnings.warn(missing_rate(contents, name), HeadwaterWarning, stacklevel=4)
        return RATE_WITHOUT_ANY
