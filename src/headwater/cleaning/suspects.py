"""The training examples of a classifier in the order in which their labels should be looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from headwater.cleaning.decisions import Decision, Decisions
from headwater.errors import InputError
from headwater.files import replacing
from headwater.results.writers import CsvWriter, FrameWriter, ParquetWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from headwater.results.names import Entries, Names
    from headwater.results.writers import Writer

_ROWS = 4096
_COLUMNS = [
    "rank",
    "suspicion",
    "given_label",
    "suggested_label",
    "support",
    "predicted_label",
    "confidence",
    "twin",
    "loss",
    "margin",
    "self_influence",
    "neighbours",
    "probe",
]


def refuse_reserved(columns: Iterable[str]) -> None:
    """Raises InputError for a column that tables of suspects have one of their own for."""
    taken = sorted(set(columns) & set(_COLUMNS))
    if taken:
        raise InputError(
            f"column {taken[0]!r} of the training examples has a name that tables of suspects have "
            f"a column of their own for; call it otherwise"
        )


@dataclass(frozen=True)
class Suspects:
    """What `find_suspects` found out about every training example.

    N is their number, C that of the checkpoints, in the order of training. In every signal, and in
    the combined score, more means more suspect.

    Attributes:
        scores: the combined score, from 0 to 1.
        signals: by name, what it was combined of, each in a unit of its own; see docs/cleaning.md.
        labels: the given ones.
        suggested: the label that the signals together find most likely; often the given one.
        support: how likely they find it, from 0 to 1.
        confidence: the probability of the given label at each checkpoint.
        predicted: the most likely class at each checkpoint.
        predicted_confidence: its probability.
        losses: at each checkpoint, as the task has them.
        twins: by example, the place of its nearest near-duplicate under another label; -1 without.
        disputed: whether the model at most checkpoints, neighbours and probe all name the same
            label, and it isn't the given one.
        checkpoints: what the checkpoints are called.
        reason: why these.
        notes: what a reader must know besides, such as a signal that couldn't be had.
        data: the fingerprint of the training data.
        examples: the examples' names, and what else is known of them.
    """

    scores: Float[Tensor, " N"]
    signals: Mapping[str, Float[Tensor, " N"]]
    labels: Int[Tensor, " N"]
    suggested: Int[Tensor, " N"]
    support: Float[Tensor, " N"]
    confidence: Float[Tensor, "C N"]
    predicted: Int[Tensor, "C N"]
    predicted_confidence: Float[Tensor, "C N"]
    losses: Float[Tensor, "C N"]
    twins: Int[Tensor, " N"]
    disputed: Bool[Tensor, " N"]
    checkpoints: tuple[str, ...]
    reason: str
    data: str
    examples: Names = field(repr=False)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"Suspects(examples={len(self)}, estimated_wrong={self.estimated_wrong}, "
            f"signals={', '.join(self.signals)}, checkpoints={len(self.checkpoints)})"
        )

    @property
    def estimated_wrong(self) -> int:
        """About how many given labels are wrong: those that are `disputed`."""
        return int(self.disputed.sum())

    @property
    def ranking(self) -> Int[Tensor, " N"]:
        """The examples' places, most suspect first; of equals the earlier."""
        return self.scores.argsort(descending=True, stable=True)

    @property
    def ids(self) -> list[Any]:
        """The examples' ids, in the order of the training data; their places if none were given."""
        return [self.examples.id(place) for place in range(len(self))]

    def table(self, places: Int[Tensor, " R"] | None = None) -> dict[str, Entries]:
        """Some examples by column, in the order of `places`; None takes the ranking.

        Columns: `id`, `index`, what else is known of the example, `rank` from 1, `suspicion` (the
        combined score), `given_label`, `suggested_label`, `support`, `predicted_label` (at the last
        checkpoint), `confidence` (in the given label, the mean), one column per signal, and
        `twin` (a near-duplicate under another label, or missing).
        """
        ranking = self.ranking
        chosen = ranking if places is None else places.long()
        ranks = torch.empty(len(self), dtype=torch.int64)
        ranks[ranking] = torch.arange(1, len(self) + 1)
        twins = self.twins[chosen].numpy().astype(np.float64)
        numbers = {
            "rank": ranks[chosen],
            "suspicion": self.scores[chosen],
            "given_label": self.labels[chosen],
            "suggested_label": self.suggested[chosen],
            "support": self.support[chosen],
            "predicted_label": self.predicted[-1][chosen],
            "confidence": self.confidence[:, chosen].mean(dim=0),
            **{name: signal[chosen] for name, signal in self.signals.items()},
        }
        return {
            **self.examples.table(chosen.tolist()),
            **{name: values.numpy() for name, values in numbers.items()},
            "twin": np.where(twins < 0, np.nan, twins),
        }

    def to_pandas(self, *, top: int | None = None) -> Any:
        """A DataFrame with a row per example, most suspect first; see `table`.

        Args:
            top: how many; None takes all.

        Raises:
            MissingDependencyError: pandas isn't installed.
        """
        writer = self._written(FrameWriter({"suspects": repr(self)}), top)
        assert isinstance(writer, FrameWriter)
        return writer.frame()

    def to_csv(self, path: str | PathLike[str], *, top: int | None = None) -> None:
        """The table of `to_pandas` as a CSV file; whole or not at all."""
        with replacing(Path(path)) as temporary:
            self._written(CsvWriter(temporary), top)

    def to_parquet(self, path: str | PathLike[str], *, top: int | None = None) -> None:
        """The table of `to_pandas` as a Parquet file; whole or not at all.

        Raises:
            MissingDependencyError: pyarrow isn't installed.
        """
        with replacing(Path(path)) as temporary:
            self._written(ParquetWriter(temporary, {"suspects": repr(self)}), top)

    def suggested_decisions(
        self,
        count: int | None = None,
        *,
        decision: Literal["auto", "relabel", "drop"] = "auto",
    ) -> Decisions:
        """Decisions about the most suspect examples, for a person to look through.

        Args:
            count: of the first so many of the ranking, leaving out those whose given label is the
                suggested one; None takes all that are `disputed`, wherever they are in it.
            decision: "relabel" to the suggested label; "drop"; or "auto", which relabels what is
                disputed, and drops the others.

        Raises:
            InputError: count or decision is none of these.
        """
        if decision not in ("auto", "relabel", "drop"):
            raise InputError(f"decision is {decision!r}; expected 'auto', 'relabel' or 'drop'")
        if count is not None and (not isinstance(count, int) or count < 0):
            raise InputError(f"count is {count!r}; expected an int of at least 0, or None")
        ranking = self.ranking
        chosen = ranking[self.disputed[ranking]] if count is None else ranking[:count]
        found = []
        for place in chosen.tolist():
            if self.suggested[place] == self.labels[place]:
                continue
            own = self.examples.id(place) if self.examples.has_ids else None
            sure = decision == "relabel" or bool(self.disputed[place])
            if decision != "drop" and sure:
                found.append(Decision(place, "relabel", int(self.suggested[place]), own))
            else:
                found.append(Decision(place, "drop", None, own))
        return Decisions(found, data=self.data)

    def _written(self, writer: Writer, top: int | None) -> Writer:
        ranking = self.ranking[:top]
        with writer:
            for start in range(0, max(1, len(ranking)), _ROWS):
                writer.write(self.table(ranking[start : start + _ROWS]))
        return writer
