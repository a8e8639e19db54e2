"""A rank's share of a pass over training examples."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from headwater.engine.deal import Deal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from headwater.engine.session import Session
    from headwater.engine.spans import Numbered
    from headwater.engine.visiting import Recorded, Visiting
    from headwater.forms import Gradients


class Kept(NamedTuple):
    """What is kept of a batch.

    Attributes:
        start: the place of its first example.
        parts: its gradients, as they are kept.
    """

    start: int
    parts: list[Gradients]


class Dealing:
    """A pass that has begun, of which a rank takes its share.

    Args:
        session: the model, and the batches.
        visiting: computes a batch.
        begun: all batches, from the first.
        keep: makes what is kept of a batch.

    Attributes:
        batch_size: examples per batch of a Dataset.
    """

    def __init__(
        self,
        session: Session,
        visiting: Visiting,
        begun: Iterable[Numbered],
        keep: Callable[[Recorded], list[Gradients]],
    ) -> None:
        self.batch_size = session.batch_size
        self._session = session
        self._visiting = visiting
        self._begun: Iterable[Numbered] = begun
        self._keep = keep
        self._first: Kept | None = None

    def first(self) -> Kept | None:
        """The first batch of all, whosever it is; None where there is none."""
        begun, self._begun = self._begun, ()
        head = next(iter(begun), None)
        self._first = None if head is None else self._computed(*head)
        return self._first

    def recorded(self, deal: Deal) -> Iterator[Kept]:
        """The batches of a share. What `first` has computed isn't computed again."""
        for start, batch in self._session.dealt(deal):
            known, self._first = self._first, None
            yield known if known is not None and start == 0 else self._computed(start, batch)

    def _computed(self, start: int, batch: object) -> Kept:
        return Kept(start, self._keep(self._visiting(start, batch)))


class DealingInStep(Dealing):
    """A share of a pass through a sharded model, whose weights all ranks gather in step.

    Ranks compute a batch each at the same time as long as a turn has a whole run for each of them.
    What is left all compute, and each keeps its own.
    """

    def recorded(self, deal: Deal) -> Iterator[Kept]:
        # One rank would have computed it, and the others another batch.
        self._first = None
        turn = deal.run * deal.ranks
        whole = max(0, self._session.may_be_abreast() - deal.first) // turn
        if whole:
            own = self._session.dealt(deal)
            for start, batch in self._session.abreast(own, whole * deal.run):
                yield self._computed(start, batch)
        left = self._session.dealt(Deal(first=deal.first + whole * turn))
        yield from self._by_all(deal, self._session.read_by_all(left))

    def _by_all(self, deal: Deal, batches: Iterator[Numbered]) -> Iterator[Kept]:
        """A rank's own of the batches that all compute, turn by turn.

        A turn is through before any of it is handed on: ranks then go different ways, until all
        have come to the end of the turn.
        """
        turn = deal.run * deal.ranks
        computed = turn
        while computed == turn:
            computed = 0
            held: deque[Kept] = deque()
            for place, (start, batch) in enumerate(islice(batches, turn)):
                recorded = self._visiting(start, batch)
                computed = place + 1
                if place // deal.run == deal.rank:
                    held.append(Kept(start, self._keep(recorded)))
            while held:
                yield held.popleft()
