"""A series of checkpoints bound to its model: loaded one after another, each with its rate."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from headwater.checkpoints.recording.checkpoint import RecordedCheckpoint
from headwater.checkpoints.recording.selected import one_rate, selected_rates
from headwater.checkpoints.recording.series import CheckpointSeries
from headwater.checkpoints.source import Source, open_source
from headwater.checkpoints.state import load_state
from headwater.distributed import reshard
from headwater.errors import HeadwaterWarning, InputError, NoCheckpointsError

_END = object()


@dataclass(frozen=True)
class LoadedCheckpoint:
    """The checkpoint that the model holds now: its place, what it is called, its learning rate.

    Where the parameters that count have several rates, these stand in `by_parameter`, and `rate`
    is 1.
    """

    index: int
    name: str
    rate: float
    by_parameter: Mapping[str, float] | None = None


class BoundSeries:
    """The checkpoints of one training run, as an estimator goes through them.

    Args:
        model: what checkpoints are loaded into; putting its own weights back is the caller's part.
        checkpoints: a folder or a file, by path; or an iterable of paths, of state dicts, of
            (path or state, rate) pairs, or of anything that a `load_func` of the user's own
            understands, which gets the items untouched.
        load_func: loads a checkpoint into the model and returns the learning rate.
        learning_rates: one per checkpoint; they win over all rates that checkpoints come with.

    Attributes:
        visited: by place, the names and rates of checkpoints that have been loaded.

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
        self._source = open_source(
            checkpoints, any_format=not self._by_default, rates_given=learning_rates is not None
        )
        self._rates = None if learning_rates is None else as_rates(learning_rates, self.count)
        # Noted now: while a call lasts, the model works on copies of its weights.
        self._own_memory = memory_of(model)
        self._selection: tuple[str, ...] | None = None
        self._by_parameter: dict[int, Mapping[str, float]] = {}
        self.visited: dict[int, tuple[str, float, Mapping[str, float] | None]] = {}
        self._started = False
        self._warned = False

    def selecting(self, names: Sequence[str]) -> BoundSeries:
        """The same series for who weighs each of these parameters by its own rate.

        Without, several rates are an error.

        Args:
            names: of the parameters that count.
        """
        if self._selection == tuple(names):
            return self
        selecting = copy.copy(self)
        selecting._selection = tuple(names)
        selecting._by_parameter = {}
        selecting.visited = {}
        return selecting

    def picked(self, places: Sequence[int]) -> BoundSeries:
        """The checkpoints in some places, as a series of their own.

        Args:
            places: ascending, in the order of the checkpoints.

        Raises:
            InputError: the checkpoints come from a generator, which can't be gone through twice.
        """
        if not self.replayable:
            raise InputError(
                "the checkpoints come from a generator, which is read once; pass a list"
            )
        items = list(self._source.items)
        picked = copy.copy(self)
        picked._source = Source(tuple(items[place] for place in places), len(places), True)
        picked._rates = None if self._rates is None else tuple(self._rates[p] for p in places)
        picked._by_parameter = {}
        picked.visited = {}
        picked._started = False
        return picked

    @property
    def recording(self) -> CheckpointSeries | None:
        """The recorded checkpoints that these are, where they are."""
        items = self._source.items
        return items if isinstance(items, CheckpointSeries) else None

    def by_parameter(self, index: int) -> Mapping[str, float] | None:
        """The rates by parameter at a checkpoint that was visited; None where there is one rate."""
        return self._by_parameter.get(index)

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
            rate = self._load(item, index)
            loaded = LoadedCheckpoint(
                index, short_name(item, index), rate, self._by_parameter.get(index)
            )
            self.visited[index] = (loaded.name, loaded.rate, loaded.by_parameter)
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
        reshard(self._model)
        with torch.no_grad():
            rate = (
                self._load_default(item, name, index)
                if self._by_default
                else self._load_own(item, name)
            )
        return rate if self._rates is None else self._rates[index]

    def _load_own(self, item: object, name: str) -> float:
        returned = self._load_func(self._model, item)
        return RATE_WITHOUT_ANY if self._rates is not None else as_returned_rate(returned, name)

    def _load_default(self, item: object, name: str, index: int) -> float:
        contents = read_contents(self._model, item, name)
        if isinstance(item, RecordedCheckpoint) and self._rates is None:
            contents = replace(contents, rate=self._recorded_rate(item, name, index))
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

    def _recorded_rate(self, item: RecordedCheckpoint, name: str, index: int) -> float:
        if self._selection is None:
            trained = [key for key, p in self._model.named_parameters() if p.requires_grad]
            return one_rate(item, trained, name)
        rates = selected_rates(item, self._selection, name)
        if len(set(rates.values())) == 1:
            return rates[self._selection[0]]
        self._by_parameter[index] = rates
        return 1.0
