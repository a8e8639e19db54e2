"""Filling a store: gradients batch by batch, shard by shard, each committed as it is whole."""

from __future__ import annotations

import logging
import math
import shutil
import sys
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from headwater.capture import Capture, PlanChanged, borrowed
from headwater.distributed import StartAnew
from headwater.engine import TrainingData, memory_budget_bytes
from headwater.engine.deal import Deal
from headwater.engine.gradient_pass import GradientPass
from headwater.errors import InputError, StoreWriteError
from headwater.estimators.stored.answers import one_vector, smallest, written_out
from headwater.estimators.stored.binding import checkpoint_weights
from headwater.estimators.stored.example_ids import refuse_odd_ids
from headwater.estimators.vectors import VectorParts
from headwater.forms import Gradients
from headwater.store import shard_contents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headwater.distributed import Together
    from headwater.engine.dealing import Dealing, Kept
    from headwater.engine.visiting import Recorded
    from headwater.estimators.streamed import Streamed
    from headwater.store import Manifest, ShardEntry, Writer
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
# Batches that are dealt out at a time where nobody knows how many there are.
STREAMED_RUN = 32


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
    parts: Streamed,
    capture: Capture,
    data: TrainingData,
    task: Task,
    binding: Mapping[str, Any],
    in_step: Together | None,
) -> list[Gradients]:
    """The gradients of all queries, by part as a store of this binding has them.

    Args:
        in_step: the ranks that share a sharded model's weights.

    Raises:
        PlanChanged: a layer's rule didn't fit; to be called again.
    """
    passing = gradient_pass(parts, capture, data, task, kind="query")
    with (
        borrowed(parts.net, in_step=True),
        passing.begun(batch_size=None, skip=0, in_step=in_step) as (_, recorded),
    ):
        found = [stored_parts(batch, binding) for batch in recorded]
    return [Gradients.cat(list(batches)) for batches in zip(*found, strict=True)]


@dataclass(frozen=True)
class Share:
    """What a rank wrote of one turn: a run of batches, in one shard or several.

    Attributes:
        start: the place of its first example among those of the pass.
        rows: how many examples there are.
        batches: how many batches; fewer than a run where the data ended.
        shards: in order.
    """

    start: int
    rows: int = 0
    batches: int = 0
    shards: tuple[ShardEntry, ...] = ()


@dataclass
class Filling:
    """One filling of a store, by build or append.

    Batches are dealt out in runs: each rank computes a run and writes it as shards of its own, the
    first rank commits those of all, and then it is the next runs' turn. How long a run is, and so
    where a shard ends, depends on the data alone, so that any number of ranks writes the same
    files.

    Attributes:
        parts: the estimator's.
        data: the examples to add.
        ids: theirs, or None to number them.
        taken: ids that are in the store already.
        at_once: whether nothing is committed before everything is written.
        name: of the progress bar.
        show_progress: whether there is one.
        together: the ranks.
        others: how many examples the store has, or had, that aren't of this data.
    """

    parts: Streamed
    data: TrainingData
    ids: Sequence[int | str] | None
    taken: frozenset[int | str]
    at_once: bool
    name: str
    show_progress: bool
    together: Together
    others: int = 0

    def filled(
        self, writer: Writer, capture: Capture, manifest: Manifest, free: int
    ) -> Manifest | None:
        """The state after all examples are written; the caller's to commit.

        None if it has to be tried again, since a layer's rule doesn't fit; what was written since
        `manifest` doesn't count then.

        Args:
            writer: writes shards, and commits in between unless `at_once`.
            capture: of the estimator's model.
            manifest: the state before; an interrupted build goes on from there.
            free: bytes of the disk that are free.

        Raises:
            InputError: ids are of another number than the examples, or taken.
            StoreWriteError: the store wouldn't fit, or a file can't be written.
        """
        try:
            return self._fill(writer, capture, manifest, free)
        except PlanChanged as change:
            logger.warning("beginning anew: the rule for %s does not fit", change)
            learned = self.together.start_anew(capture.learned)
        except StartAnew as anew:
            learned = anew.told
        # So that all ranks go by the same rules from now on.
        for one in learned:
            capture.learn(one)
        return None

    def _fill(self, writer: Writer, capture: Capture, manifest: Manifest, free: int) -> Manifest:
        skip = 0 if self.at_once else manifest.batches
        refuse_odd_ids(self.ids, taken=self.taken, count=self.data.count)
        passing = gradient_pass(
            self.parts, capture, self.data, self.parts.task, kind="training example"
        )
        with (
            borrowed(self.parts.net, in_step=True),
            passing.dealt(
                batch_size=manifest.batch_size or None,
                together=self.together,
                keep=partial(stored_parts, binding=manifest.binding),
            ) as dealing,
            self._bar(dealing.batch_size, skip) as bar,
        ):
            manifest = replace(manifest, batch_size=dealing.batch_size)
            run = self._run(dealing, manifest, free)
            deal = Deal(self.together.rank, self.together.size, run, skip)
            recorded = dealing.recorded(deal)
            while True:
                shares = self._turn(recorded, run, writer, manifest, bar)
                manifest = self._after(manifest, shares)
                if shares[-1].batches < run:
                    break
                if not self.at_once:
                    writer.commit(manifest)
        done = manifest.next_id - self.others
        if self.ids is not None and len(self.ids) != done:
            raise InputError(f"ids has {len(self.ids)} entries for {done} examples")
        built = manifest.built if self.at_once else done
        return replace(manifest, complete=True, built=built)

    def _run(self, dealing: Dealing, manifest: Manifest, free: int) -> int:
        """How many batches are dealt out at a time."""
        first = dealing.first()
        nbytes = 1
        if first is not None:
            self._predict(first.parts, manifest, free)
            nbytes = max(1, sum(part.nbytes for part in first.parts))
        count = self.data.number_of_batches(dealing.batch_size)
        # Few enough that ranks end at about the same time, and no more files than that takes.
        few = STREAMED_RUN if count is None else math.ceil(math.sqrt(count) / 2)
        run: int = self.together.agreed(max(1, min(few, -(-SHARD_BYTES // nbytes))))
        return run

    def _bar(self, batch_size: int, skip: int) -> Any:
        return tqdm(
            desc=self.name,
            unit="batch",
            total=self.data.number_of_batches(batch_size),
            initial=skip,
            disable=not self.show_progress or self.together.rank > 0,
        )

    def _turn(
        self, recorded: Iterator[Kept], run: int, writer: Writer, manifest: Manifest, bar: Any
    ) -> list[Share]:
        """Computes and writes this rank's next run; every rank's share, by rank."""
        begins = manifest.next_id - self.others
        share: Share | None = None
        group: list[list[Gradients]] = []
        held = 0
        for batch in islice(recorded, run):
            # Where the first rank begins is known from what is stored, whatever the sampler says.
            share = share or Share(batch.start if self.together.rank else begins)
            group.append(batch.parts)
            held += sum(part.nbytes for part in group[-1])
            if held >= SHARD_BYTES:
                share, group, held = self._written(share, group, run, writer, manifest), [], 0
            bar.update(self.together.told(None).count(None))
        share = share or Share(start=0)
        if group:
            share = self._written(share, group, run, writer, manifest)
        while None in (told := self.together.told(share)):
            bar.update(told.count(None))
        return told

    def _written(
        self,
        share: Share,
        group: list[list[Gradients]],
        run: int,
        writer: Writer,
        manifest: Manifest,
    ) -> Share:
        """The share with one more shard, which is on disk then."""
        # Every batch has a number that a shard may have, so that ranks need not ask for one.
        number = manifest.next_shard + self.together.rank * run + share.batches
        joined = [Gradients.cat(list(batches)) for batches in zip(*group, strict=True)]
        rows = joined[0].batch_size
        start = share.start + share.rows
        first = start + self.others
        contents = shard_contents(
            joined,
            self._own_ids(start, first, rows),
            first=first,
            dtype=DTYPES[manifest.binding["dtype"]],
            number=number,
            binding=manifest.binding_digest,
        )
        entry = writer.write_shard(number, contents, rows=rows)
        shards = (*share.shards, entry)
        return Share(share.start, share.rows + rows, share.batches + len(group), shards)

    def _after(self, manifest: Manifest, shares: Sequence[Share]) -> Manifest:
        """The state with the shares of a turn, which follow one another."""
        for share in shares:
            place = manifest.next_id - self.others
            if share.rows and share.start != place:
                raise InputError(
                    f"a batch that was to begin with example {share.start} begins with {place}: "
                    f"the numbers of examples in batches aren't those that the loader's sampler "
                    f"asks for, so ranks can't share the batches; build on one rank, within "
                    f"headwater.distributed.alone()"
                )
            manifest = replace(
                manifest,
                shards=(*manifest.shards, *share.shards),
                next_shard=manifest.next_shard + share.batches,
                batches=manifest.batches + share.batches,
                next_id=manifest.next_id + share.rows,
            )
        return manifest

    def _own_ids(self, start: int, first: int, rows: int) -> Sequence[int | str]:
        if self.ids is None:
            own: Sequence[int | str] = range(first, first + rows)
            clash = self.taken.intersection(own)
            if clash:
                raise InputError(f"the id {min(own)!r} or one after it is taken; give ids=[...]")
            return own
        own = self.ids[start : start + rows]
        if len(own) != rows:
            raise InputError(f"ids has {len(self.ids)} entries, and there are more examples")
        return own

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
        done = manifest.next_id - self.others
        nbytes = len(contents) * (count - done) // rows
        each = len(contents) // rows
        message = f"{nbytes / 1e6:,.1f} MB for {count - done:,} examples ({each:,} bytes each)"
        logger.info("%s will take %s", self.name, message)
        if self.show_progress and self.together.rank == 0:
            tqdm.write(f"{self.name}: {message}", file=sys.stderr)
        if nbytes > free:
            raise StoreWriteError(
                f"the store would take {message}, and {free / 1e6:,.1f} MB are free; choose "
                f"form=Projected(dim=...) or a smaller dtype, or another disk"
            )


def free_bytes(path: Any) -> int:
    """The bytes that are free on the disk of a folder."""
    return shutil.disk_usage(path).free
