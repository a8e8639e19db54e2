"""Several processes with one command, as torchrun starts it: who speaks, who writes."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click
import torch
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from headwater.cli.exit_codes import INTERRUPTED
from headwater.cli.notices import say
from headwater.cli.text import counted
from headwater.errors import InputError, RankError

if TYPE_CHECKING:
    from headwater.cli.ending import Ending

Function = TypeVar("Function", bound="Callable[..., Any]")

_NEEDED = ("MASTER_ADDR", "MASTER_PORT")
# What a library asks who wants to know whether there are other processes.
_BY_ITSELF = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_WORLD_SIZE": "1"}
# For how long one waits for words of another process before one says them oneself.
_WORDS_WITHIN = timedelta(seconds=5)


class _Store(Protocol):
    """What is used of PyTorch's, which has no annotations: texts by key, for all processes."""

    def set(self, key: str, value: str) -> None: ...
    def compare_set(self, key: str, expected: str, desired: str) -> bytes: ...
    def check(self, keys: list[str]) -> bool: ...
    def wait(self, keys: list[str], timeout: timedelta) -> None: ...


@dataclass(frozen=True)
class Launched:
    """The processes that a launcher started with the same command; this is one of them.

    Attributes:
        rank: its number.
        size: how many there are.
        local_rank: its number among those of its machine.
    """

    rank: int
    size: int
    local_rank: int

    @classmethod
    def found(cls, environment: Mapping[str, str]) -> Launched | None:
        """The processes that the environment tells of, as torchrun sets it; None for one alone.

        Raises:
            InputError: it doesn't say how they find each other.
        """
        size = int(environment.get("WORLD_SIZE", "1"))
        if size < 2 or "RANK" not in environment:
            return None
        missing = [name for name in _NEEDED if name not in environment]
        if missing:
            raise InputError(
                f"WORLD_SIZE is {size} and {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not set, so the processes can't find each "
                f"other; start them with torchrun, or unset WORLD_SIZE for one process"
            )
        rank = int(environment["RANK"])
        return cls(rank, size, int(environment.get("LOCAL_RANK", rank)))

    def run(
        self, command: Callable[[], object], ending_of: Callable[[Callable[[], object]], Ending]
    ) -> int:
        """Runs a command as one of the processes, and returns its exit status.

        The first speaks and writes; of an error any other, if nobody said the same before.

        Args:
            command: what to run.
            ending_of: runs it, and makes an ending of whatever it raises.
        """
        # Whoever has nothing to say but errors keeps where to say them.
        stderr = sys.stderr
        if torch.cuda.is_available() and self.local_rank < torch.cuda.device_count():
            torch.cuda.set_device(self.local_rank)
        met: list[_Store] = []

        def meet_and_run() -> object:
            met.append(_store())
            return command()

        token = _current.set(self)
        try:
            with self._muted():
                ending = ending_of(meet_and_run)
            if ending.status == INTERRUPTED:
                # A terminal sends Ctrl-C to all, and torchrun sends it to them once more.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        finally:
            _current.reset(token)
        if not ending.said:
            if dist.is_initialized():
                dist.destroy_process_group()
            return ending.status
        if not met or self._is_news(ending, met[0]):
            said = ending.said
            if self.rank and said.startswith("Error: "):
                said = said.replace("Error", f"Error on rank {self.rank}", 1)
            print(said, file=stderr, flush=True)
        with suppress(RuntimeError):
            # Whoever waits for these words, to end in silence, may do so now.
            for store in met:
                store.set(_said(self.rank), "1")
        return ending.status

    def join(self, device: torch.device) -> None:
        """Meets the other processes in a process group, unless the user's file did so already.

        Args:
            device: the model's.

        Raises:
            InputError: the model isn't on this process's own GPU.
        """
        if dist.is_initialized():
            return
        if device.type != "cuda":
            dist.init_process_group("gloo")
            return
        devices = torch.cuda.device_count()
        if self.local_rank >= devices:
            raise InputError(
                f"this is process {self.local_rank} of its machine, which has "
                f"{counted(devices, 'GPU')}; start as many processes as there are GPUs: "
                f"torchrun --nproc-per-node {devices}"
            )
        if device.index not in (None, self.local_rank):
            raise InputError(
                f"the model is on {device}, and process {self.local_rank} of a machine computes on "
                f"cuda:{self.local_rank}; move the model to 'cuda', which is each process's own"
            )
        dist.init_process_group("nccl")

    @contextmanager
    def _muted(self) -> Iterator[None]:
        """Within, no process but the first prints."""
        with ExitStack() as stack:
            if self.rank:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(redirect_stdout(nowhere))
                if "HEADWATER_TRACEBACK" not in os.environ:
                    stack.enter_context(redirect_stderr(nowhere))
            yield

    def _is_news(self, ending: Ending, store: _Store) -> bool:
        """Whether no other process says it; returns once that one has said it."""
        try:
            cause = ending.elsewhere
            if cause is not None and cause.ranks:
                keys = [_said(rank) for rank in cause.ranks]
                if cause.died:
                    return not any(store.check([key]) for key in keys)
                store.wait(keys, _WORDS_WITHIN)
                return False
            digest = hashlib.sha256(ending.said.encode()).hexdigest()
            me = str(self.rank)
            speaker = store.compare_set(f"headwater/speaker/{digest}", "", me).decode()
            if speaker == me:
                return True
            store.wait([_said(int(speaker))], _WORDS_WITHIN)
            return False
        except RuntimeError:
            # Who could have said it is gone.
            return True


_current: ContextVar[Launched | None] = ContextVar("headwater_launched", default=None)


def _store() -> _Store:
    """Where the processes leave word for each other, before and after there is a group.

    Raises:
        RankError: they don't find each other.
    """
    try:
        store, *_ = next(rendezvous("env://"))
    except (RuntimeError, ValueError) as error:
        place = ":".join(os.environ[name] for name in _NEEDED)
        raise RankError(f"the other processes aren't to be found at {place}: {error}") from error
    return store  # type: ignore[no-any-return]


def _said(rank: int) -> str:
    return f"headwater/said/{rank}"


def launched() -> Launched | None:
    """The processes of which this is one; None for a process by itself."""
    return _current.get()


def is_first() -> bool:
    """Whether this process is the one that prints and writes files."""
    found = launched()
    return found is None or found.rank == 0


def of_one_process(function: Function) -> Function:
    """A command that several processes can't share: the first does it, the others end at once."""

    @wraps(function)
    def by_the_first(*args: Any, **options: Any) -> Any:
        found = launched()
        if found is None:
            return function(*args, **options)
        if found.rank:
            return None
        name = click.get_current_context().command_path
        others = found.size - 1
        say(
            f"Note: `{name}` is work for one process: rank 0 does it, and the other "
            f"{'one ends' if others == 1 else f'{others} end'}"
        )
        with _by_itself():
            return function(*args, **options)

    return by_the_first  # type: ignore[return-value]


@contextmanager
def _by_itself() -> Iterator[None]:
    """Within, this process is one alone, also for the user's own file."""
    before = {name: os.environ.get(name) for name in _BY_ITSELF}
    token = _current.set(None)
    os.environ.update(_BY_ITSELF)
    try:
        yield
    finally:
        _current.reset(token)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
