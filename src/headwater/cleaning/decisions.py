"""What was decided about training examples: keep, relabel or drop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from headwater.cleaning import decisions_file
from headwater.errors import DecisionsError

if TYPE_CHECKING:
    from os import PathLike

Verdict = Literal["keep", "relabel", "drop"]
Label = int | str
VERDICTS: tuple[str, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Decision:
    """What was decided about one training example.

    Attributes:
        index: its place in the training data, from 0.
        decision: "keep", as it is; "relabel"; or "drop".
        label: of "relabel", the new label, as the data has labels; else None.
        id: its own name, where it has one.
    """

    index: int
    decision: Verdict
    label: Label | None = None
    id: Label | None = None

    def __post_init__(self) -> None:
        where = f"the decision about example {self.index!r}"
        if not _is_int(self.index) or self.index < 0:
            raise DecisionsError(
                f"a decision has the index {self.index!r}; expected the example's place in the "
                f"training data, an int from 0 on"
            )
        if self.decision not in VERDICTS:
            raise DecisionsError(
                f"{where} is {self.decision!r}; expected one of {', '.join(map(repr, VERDICTS))}"
            )
        if self.label is not None and not (_is_int(self.label) or isinstance(self.label, str)):
            raise DecisionsError(
                f"{where} has the label {self.label!r}; expected an int or a text, as the data "
                f"has labels"
            )
        if self.decision == "relabel" and self.label is None:
            raise DecisionsError(f"{where} is 'relabel' without a label; give the new one")
        if self.decision != "relabel" and self.label is not None:
            raise DecisionsError(
                f"{where} is {self.decision!r} with the label {self.label!r}; only 'relabel' takes "
                f"one: give null"
            )


class Decisions(Sequence[Decision]):
    """Decisions about some training examples, at most one each; all others are kept.

    Args:
        decisions: in any order.
        data: the fingerprint of the training data they are about, as `fingerprint_of` gives it;
            None where it isn't known.

    Raises:
        DecisionsError: two are about the same example.
    """

    def __init__(self, decisions: Iterable[Decision] = (), *, data: str | None = None) -> None:
        self._decisions = tuple(decisions)
        self.data = data
        seen: set[int] = set()
        for one in self._decisions:
            if one.index in seen:
                raise DecisionsError(
                    f"there are two decisions about example {one.index}; expected at most one each"
                )
            seen.add(one.index)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Decisions:
        """The decisions in a file: JSON, or CSV where its name ends in .csv.

        Raises:
            DecisionsError: it is no such file, or something in it can't be meant; says where.
        """
        data, rows = decisions_file.read(Path(path))
        found = [_decision(place, row) for place, row in rows]
        try:
            return cls(found, data=data)
        except DecisionsError as error:
            raise DecisionsError(f"{path}: {error}") from error

    def write(self, path: str | PathLike[str]) -> None:
        """Writes JSON, or CSV where the name ends in .csv; whole or not at all.

        A CSV file has no place for the fingerprint of the data.
        """
        rows = [
            {"index": one.index, "id": one.id, "decision": one.decision, "label": one.label}
            for one in self
        ]
        decisions_file.write(Path(path), rows, data=self.data)

    def counts(self) -> dict[str, int]:
        """How many of each kind there are."""
        return {verdict: sum(one.decision == verdict for one in self) for verdict in VERDICTS}

    def __len__(self) -> int:
        return len(self._decisions)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Decisions(self._decisions[place], data=self.data)
        return self._decisions[place]

    def __iter__(self) -> Iterator[Decision]:
        return iter(self._decisions)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Decisions):
            return NotImplemented
        return self._decisions == other._decisions and self.data == other.data

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counts = ", ".join(f"{verdict}={count}" for verdict, count in self.counts().items())
        return f"Decisions({counts})"


def _decision(place: str, row: dict[str, Any]) -> Decision:
    try:
        return Decision(**row)
    except DecisionsError as error:
        raise DecisionsError(f"{place}: {error}") from error


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
