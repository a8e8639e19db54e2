"""Filling a store: gradients batch by batch, shard by shard, each committed as it is whole."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from headwater.capture import Capture, borrowed
from headwater.engine import TrainingData, memory_budget_bytes
from headwater.engine.gradient_pass import GradientPass, Recorded
from headwater.errors import InputError, StoreWriteError
from headwater.estimators.stored.answers import one_vector, smallest, written_out
from headwater.estimators.stored.binding import checkpoint_weights
from headwater.estimators.stored.example_ids import refuse_odd_ids
from headwater.estimators.vectors import VectorParts
from headwater.forms import Gradients
from headwater.store import shard_contents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from headwater.estimators.streamed import Streamed
    from headwater.store import Manifest, Writer
    from headwater.tasks import Task

logger = logging.getLogger("headwater")

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Bytes of gradients in memory after which a shard is closed, at the end of a batch.
SHARD_BYTES = 64 * 2**20


def stored_parts(recorded: Recorded, binding: Mapping[str, Any]) -> list[Gradients]:
    """What a store of this binding keeps of a batch: a part by checkpoint, or one for all."""
    kind = binding["form"]["kind"]
    if kind == "projected":
        return [one_vector(recorded.by_checkpoint, checkpoint_weights(binding))]
    if kind == "vectors":
        return recorded.by_checkpoint
    if kind == "materialised":
        return [written_out(gradients) for gradients in recorded.by_checkpoint]
    return [smallest(gradients) for gradients in recorded.by_checkpoint]


def gradient_pass(
    parts: Streamed, capture: Capture, data: TrainingData, task: Task, *, kind: str
) -> GradientPass:
    """A pass over some examples by the parts of an estimator."""
    parameters = dict(parts.net.named_parameters())
    form = parts.vectors if isinstance(parts, VectorParts) else parts.form
    numbers = sum(parameters[name].numel() for name in parts.selection)
    return GradientPass(
        parts.net,
        capture,
        parts.series,
        data,
        task,
        projection=parts.projection_for(kind),
        budget=memory_budget_bytes(parts.memory_budget),
        extra_numbers=numbers if form is None else form.dim,
        kind=kind,
    )


def captured_parts(
    parts: Streamed, capture: Capture, data: TrainingData, task: Task, binding: Mapping[str, Any]
) -> list[Gradients]:
    """The gradients of all queries, by part as a store of this binding has them.

    Raises:
        PlanChanged: a layer's rule didn't fit; to be called again.
    """
    passing = gradient_pass(parts, capture, data, task, kind="query")
    with borrowed(parts.net), passing.begun(batch_size=None, skip=0) as (_, recorded):
        found = [stored_parts(batch, binding) for batch in recorded]
    return [Gradients.cat(list(batches)) for batches in zip(*found, strict=True)]


@dataclass
class Filling:
    """One filling of a store, by build or append.

    Attributes:
        parts: the estimator's.
        data: the examples to add.
        ids: theirs, or None to number them.
        taken: ids that are in the store already.
        at_once: whether nothing is committed before everything is written.
        name: of the progress bar.
        show_progress: whether there is one.
    """

    parts: Streamed
    data: TrainingData
    ids: Sequence[int | str] | None
    taken: frozenset[int | str]
    at_once: bool
    name: str
    show_progress: bool

    def fill(self, writer: Writer, capture: Capture, manifest: Manifest, free: int) -> Manifest:
        """The state after all examples are written; the caller's to commit.

        Args:
            writer: writes shards, and commits in between unless `at_once`.
            capture: of the estimator's model.
            manifest: the state before; an interrupted build goes on from there.
            free: bytes of the disk that are free.

        Raises:
            InputError: ids are of another number than the examples, or taken.
            StoreWriteError: the store wouldn't fit, or a file can't be written.
        """
        skip = 0 if self.at_once else manifest.batches
        done = 0 if self.at_once else manifest.next_id
        refuse_odd_ids(self.ids, taken=self.taken, count=self.data.count)
        passing = gradient_pass(
            self.parts, capture, self.data, self.parts.task, kind="training example"
        )
        with (
            borrowed(self.parts.net),
            passing.begun(batch_size=manifest.batch_size or None, skip=skip) as begun,
        ):
            batch_size, recorded = begun
            manifest = replace(manifest, batch_size=batch_size)
            for group in self._groups(self._shown(recorded, batch_size, skip), manifest, free):
                rows = sum(batch[0].batch_size for batch in group)
                contents = self._contents(group, manifest, done)
                entry = writer.write_shard(manifest.next_shard, contents, rows=rows)
                done += rows
                manifest = replace(
                    manifest.with_shard(entry),
                    batches=manifest.batches + len(group),
                    next_id=manifest.next_id + rows,
                )
                if not self.at_once:
                    writer.commit(manifest)
        if self.ids is not None and len(self.ids) != done:
            raise InputError(f"ids has {len(self.ids)} entries for {done} examples")
        built = manifest.built if self.at_once else done
        return replace(manifest, complete=True, built=built)

    def _shown(
        self, recorded: Iterator[Recorded], batch_size: int, skip: int
    ) -> Iterable[Recorded]:
        return tqdm(
            recorded,
            desc=self.name,
            unit="batch",
            total=self.data.number_of_batches(batch_size),
            initial=skip,
            disable=not self.show_progress,
        )

    def _groups(
        self, recorded: Iterable[Recorded], manifest: Manifest, free: int
    ) -> Iterator[list[list[Gradients]]]:
        """The parts of the batches of one shard after another."""
        group: list[list[Gradients]] = []
        held = 0
        predicted = False
        for batch in recorded:
            group.append(stored_parts(batch, manifest.binding))
            if not predicted:
                self._predict(group[0], manifest, free)
                predicted = True
            held += sum(part.nbytes for part in group[-1])
            if held >= SHARD_BYTES:
                yield group
                group, held = [], 0
        if group:
            yield group

    def _contents(self, group: list[list[Gradients]], manifest: Manifest, done: int) -> bytes:
        joined = [Gradients.cat(list(batches)) for batches in zip(*group, strict=True)]
        rows = joined[0].batch_size
        if self.ids is None:
            own: Sequence[int | str] = range(manifest.next_id, manifest.next_id + rows)
            clash = self.taken.intersection(own)
            if clash:
                raise InputError(f"the id {min(own)!r} or one after it is taken; give ids=[...]")
        else:
            own = self.ids[done : done + rows]
            if len(own) != rows:
                raise InputError(f"ids has {len(self.ids)} entries, and there are more examples")
        return shard_contents(
            joined,
            own,
            first=manifest.next_id,
            dtype=DTYPES[manifest.binding["dtype"]],
            number=manifest.next_shard,
            binding=manifest.binding_digest,
        )

    def _predict(self, first: list[Gradients], manifest: Manifest, free: int) -> None:
        """Says how large the store will be, and refuses what can't fit."""
        count = self.data.count
        if count is None:
            return
        rows = first[0].batch_size
        contents = shard_contents(
            first,
            range(rows),
            first=0,
            dtype=DTYPES[manifest.binding["dtype"]],
            number=0,
            binding=manifest.binding_digest,
        )
        done = 0 if self.at_once else manifest.next_id
        nbytes = len(contents) * (count - done) // rows
        each = len(contents) // rows
        message = f"{nbytes / 1e6:,.1f} MB for {count - done:,} examples ({each:,} bytes each)"
        logger.info("%s will take %s", self.name, message)
        if self.show_progress:
            tqdm.write(f"{self.name}: {message}", file=sys.stderr)
        if nbytes > free:
            raise StoreWriteError(
                f"the store would take {message}, and {free / 1e6:,.1f} MB are free; choose "
                f"form=Projected(dim=...) or a smaller dtype, or another disk"
            )


def free_bytes(path: Any) -> int:
    """The bytes that are free on the disk of a folder."""
    return shutil.disk_usage(path).free
