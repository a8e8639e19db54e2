"""Ranks that do a job step by step, so that none waits for one that failed."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from headwater.distributed.ranks import Ranks, lost_rank, present, refuse_differences
from headwater.distributed.sharded import is_sharded
from headwater.distributed.turns import StartAnew
from headwater.errors import RankError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

_TOLD, _ANEW, _FAILED = "told", "anew", "failed"


class Together:
    """The ranks of a job whose steps all of them take; a process by itself is the first of one.

    Args:
        ranks: the processes, after they have met; None for a process by itself.

    Attributes:
        rank: this process's number.
        size: how many there are.
    """

    def __init__(self, ranks: Ranks | None) -> None:
        self._ranks = ranks
        self.rank = 0 if ranks is None else ranks.rank
        self.size = 1 if ranks is None else ranks.size
        # The error that the others know of already.
        self._failure: Exception | None = None

    @classmethod
    @contextmanager
    def met(cls, facts: Mapping[str, Any]) -> Iterator[Together]:
        """Within, what goes wrong on one rank is a RankError on the others, at their next step.

        Args:
            facts: what must be the same on every rank; see `Ranks.meet`, which raises.
        """
        ranks = present()
        if ranks is not None:
            ranks.meet(facts)
        together = cls(ranks)
        # None leaves while another may still fail, and would tell it to nobody.
        with nullcontext() if ranks is None else lost_rank(ranks), together.step():
            yield together

    @classmethod
    @contextmanager
    def sharing(cls, model: nn.Module, facts: Mapping[str, Any]) -> Iterator[Together | None]:
        """Within, ranks that share a sharded model's weights have met; None for a whole model.

        Args:
            model: all of them are to go through it in step.
            facts: as for `met`.
        """
        if not is_sharded(model):
            yield None
            return
        with cls.met(facts) as together:
            yield together

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step around some work, of which every rank learns whether it went well on all.

        Raises:
            RankError: it went wrong on another rank, or one died.
            StartAnew: another rank has to start anew.
        """
        try:
            yield
            self.told(None)
        except (RankError, StartAnew):
            raise
        except Exception as error:
            if error is not self._failure:
                self._failure = error
                with suppress(RankError):
                    self._gathered(_FAILED, f"{type(error).__name__}: {error}")
            raise

    def told(self, thing: Any) -> list[Any]:
        """A step: every rank's thing, by rank; things are pickled.

        Raises:
            RankError: another rank failed or died.
            StartAnew: another rank has to start anew; has what those ranks told.
        """
        found = self._gathered(_TOLD, thing)
        anew = [told for kind, told in found if kind == _ANEW]
        if anew:
            raise StartAnew(anew)
        return [told for _, told in found]

    def agreed(self, thing: Any) -> Any:
        """A step: the first rank's thing; raises as `told`."""
        return self.told(thing if self.rank == 0 else None)[0]

    def start_anew(self, thing: Any) -> Sequence[Any]:
        """A step in which this rank tells that all have to start anew.

        Returns:
            What every rank that has to start anew told.

        Raises:
            RankError: another rank failed or died.
        """
        return [told for kind, told in self._gathered(_ANEW, thing) if kind == _ANEW]

    def same(self, facts: Mapping[str, Any]) -> None:
        """A step: refuses facts that aren't the same on every rank.

        Raises:
            InputError: they aren't; on every rank.
        """
        refuse_differences(self.told(dict(facts)))

    def _gathered(self, kind: str, thing: Any) -> list[tuple[str, Any]]:
        if self._ranks is None:
            return [(kind, thing)]
        found: list[tuple[str, Any]] = self._ranks.gathered_object((kind, thing))
        failed = [rank for rank, (other, _) in enumerate(found) if other == _FAILED]
        if failed and kind != _FAILED:
            raise RankError(f"rank {failed[0]} stopped: {found[failed[0]][1]}", ranks=(failed[0],))
        return found
