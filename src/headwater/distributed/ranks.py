"""The processes that share a job, and what became of them."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

import psutil
import torch
from torch import distributed as dist

from headwater.distributed.keep_alive import End, addresses_in, keep_alive, own_ends
from headwater.errors import InputError, RankError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

# For how long ranks wait for one that hasn't asked for the same answer.
_PATIENCE = timedelta(seconds=60)
_DEAD_WITHIN = 5.0
_LOOK_EVERY = 0.05

_alone: ContextVar[bool] = ContextVar("headwater_alone", default=False)
# The default group that a group for the CPU was made beside, and that. PyTorch holds groups until
# they are destroyed; one that is still there when its process ends aborts it.
_made: tuple[ReferenceType[object], ReferenceType[Any]] | None = None
# Listing connections takes some ten milliseconds. They are those of the default group, and of
# groups that were made of some of its ranks since.
_LOOK_AGAIN = 60.0
# The default group that they were listed for, when, and their near ends.
_looked: tuple[ReferenceType[object], float, frozenset[End]] | None = None


@contextmanager
def alone() -> Iterator[None]:
    """Within, this process answers by itself, although it is in a process group.

    For what only some ranks ask, such as a look at a few examples on the first.
    """
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def is_alone() -> bool:
    """Whether this process is to answer by itself, within `alone()`."""
    return _alone.get()


def present() -> Ranks | None:
    """The ranks of the initialised default process group; None for a process by itself."""
    if _alone.get() or not dist.is_available() or not dist.is_initialized():
        return None
    return Ranks() if dist.get_world_size() > 1 else None


@dataclass(frozen=True)
class _Place:
    host: str
    pid: int
    begun: float
    ends: frozenset[End]

    @property
    def addresses(self) -> frozenset[str]:
        """Where others reach it."""
        return frozenset(address for address, _ in self.ends)


class Ranks:
    """The processes of the default group; every method is called by all of them.

    Attributes:
        rank: this one's number.
        size: how many there are.
    """

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._places: list[_Place] = []

    def meet(self, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every rank's facts about what it is asked, by rank.

        Args:
            facts: what must be the same on every rank; those whose names begin with an underscore
                may differ.

        Raises:
            RankError: a rank doesn't come, or died.
            InputError: the ranks are asked different things.
        """
        group = self._group()
        try:
            dist.monitored_barrier(group, timeout=_PATIENCE, wait_all_ranks=True)
        except RuntimeError as error:
            raise RankError(
                f"a rank of the process group has ended, or didn't come to this answer within "
                f"{_PATIENCE.seconds} s; ask on every rank, or on one of them within "
                f"headwater.distributed.alone() ({_first_line(error)})"
            ) from error
        # All are connected by now.
        ends, are_new = _ends(dist.group.WORLD)
        begun = psutil.Process().create_time()
        me = _Place(socket.gethostname(), os.getpid(), begun, ends)
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, (me, dict(facts)), group=group)
        self._places = [place for place, _ in found]
        if are_new:
            keep_alive(frozenset().union(*(place.ends for place in self._places)))
        told: list[dict[str, Any]] = [each for _, each in found]
        refuse_differences(told)
        return told

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """Every rank's tensor, all of one shape and dtype, on the CPU, by rank.

        Raises:
            RankError: a rank died.
        """
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        try:
            dist.all_gather(found, tensor, group=self._group())
        except RuntimeError as error:
            raise self.missing(error) from error
        return found

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum of every rank's tensor, all of one shape and dtype; bit for bit alike on all.

        Raises:
            RankError: a rank died.
        """
        total = tensor.detach().to("cpu", copy=True)
        try:
            dist.all_reduce(total, group=self._group())
        except RuntimeError as error:
            raise self.missing(error) from error
        return total.to(tensor.device)

    def told_by(self, rank: int, tensor: Tensor) -> Tensor:
        """A rank's tensor on every rank; the others' have its shape and dtype, and are not read.

        Raises:
            RankError: a rank died.
        """
        found = tensor.detach().to("cpu", copy=True)
        try:
            dist.broadcast(found, rank, group=self._group())
        except RuntimeError as error:
            raise self.missing(error) from error
        return found.to(tensor.device)

    def by_the_first(self, work: Callable[[], object]) -> None:
        """Lets rank 0 do some work, such as writing a file, while the others wait.

        Raises:
            RankError: it failed, on the others; or a rank died.
        """
        failed: str | None = None
        try:
            if not self.rank:
                work()
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
            raise
        finally:
            told = self.gathered_object(failed)[0]
        if told is not None:
            raise RankError(f"rank 0 stopped: {told}", ranks=(0,))

    def gathered_object(self, thing: Any) -> list[Any]:
        """Every rank's thing, by rank; it is pickled."""
        found: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(found, thing, group=self._group())
        except RuntimeError as error:
            raise self.missing(error) from error
        return found

    def _group(self) -> Any:
        """A group whose collectives take tensors on the CPU, whatever the user's takes."""
        global _made
        world = dist.group.WORLD
        if dist.get_backend() == "gloo":
            return world
        group = None if _made is None or _made[0]() is not world else _made[1]()
        if group is None:
            group = dist.new_group(backend="gloo")
            _made = (ref(world), ref(group))
        return group

    def missing(self, error: BaseException) -> RankError:
        """What to raise where ranks died: which, as far as can be seen from this host.

        Args:
            error: a collective's.
        """
        here = socket.gethostname()
        others = [(rank, place) for rank, place in enumerate(self._places) if rank != self.rank]
        dead = tuple(rank for rank, place in others if place.host == here and _died(place))
        if dead:
            named = ", ".join(map(str, dead))
            return RankError(
                f"rank {named} died; what it was to compute is missing", ranks=dead, died=True
            )
        spoken_of = addresses_in(str(error))
        if self._places:
            spoken_of -= self._places[self.rank].addresses
        lost = [(rank, place) for rank, place in others if place.addresses & spoken_of]
        if lost:
            return RankError(
                f"rank {_with_hosts(lost)} died or can't be reached any more; what it was to "
                f"compute is missing ({_first_line(error)})",
                ranks=tuple(rank for rank, _ in lost),
                died=True,
            )
        elsewhere = [(rank, place) for rank, place in others if place.host != here]
        told = f"; not to be seen from {here}: rank {_with_hosts(elsewhere)}" if elsewhere else ""
        return RankError(f"a rank died or can't be reached any more{told} ({_first_line(error)})")


def _with_hosts(places: Sequence[tuple[int, _Place]]) -> str:
    return ", ".join(f"{rank} on {place.host}" for rank, place in places)


def _ends(world: object) -> tuple[frozenset[End], bool]:
    """Those of this process's connections, and whether they were looked at just now."""
    global _looked
    now = time.monotonic()
    if _looked is None or _looked[0]() is not world or now - _looked[1] > _LOOK_AGAIN:
        _looked = (ref(world), now, own_ends())
        return _looked[2], True
    return _looked[2], False


def refuse_differences(told: Sequence[Mapping[str, Any]]) -> None:
    """Raises InputError for the first fact that isn't the same on every rank.

    Args:
        told: every rank's facts, by rank; those whose names begin with an underscore may differ.
    """
    for name, fact in told[0].items():
        for rank, other in enumerate(told):
            if not name.startswith("_") and other.get(name) != fact:
                raise InputError(
                    f"the ranks were asked different things: {name} is {fact!r} on rank 0 and "
                    f"{other.get(name)!r} on rank {rank}; run the same script on every rank"
                )


@contextmanager
def lost_rank(ranks: Ranks) -> Iterator[None]:
    """Within, an error of a collective that isn't headwater's own says which rank died.

    Args:
        ranks: they have met.

    Raises:
        RankError: a rank died or can't be reached.
    """
    try:
        yield
    except RuntimeError as error:
        # Gloo's errors have no type of their own.
        of_group = isinstance(error, dist.DistError) or "gloo" in str(error).lower()
        if isinstance(error, RankError) or not of_group:
            raise
        raise ranks.missing(error) from error


def _died(place: _Place) -> bool:
    # A process that is being killed closes its connections before it is gone.
    deadline = time.monotonic() + _DEAD_WITHIN
    try:
        process = psutil.Process(place.pid)
        while process.create_time() == place.begun and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_EVERY)
    except psutil.NoSuchProcess:
        pass
    return True


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
