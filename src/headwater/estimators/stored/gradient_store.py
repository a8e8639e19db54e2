"""A gradient store: one expensive pass over the training data, kept on disk for many queries."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from headwater.capture import Capture
from headwater.distributed import Together, is_sharded
from headwater.errors import InputError, StoreMismatchError
from headwater.estimators.misplaced import refuse_misplaced_tensors
from headwater.estimators.question import Question
from headwater.estimators.stored.answers import StoreTopK
from headwater.estimators.stored.attributed import scores_with_meaning
from headwater.estimators.stored.beginning import refuse_ranks, refuse_strangers
from headwater.estimators.stored.binding import (
    StoredForm,
    binding_of,
    form_from_name,
    form_name,
    parts_of,
    path_of,
)
from headwater.estimators.stored.example_ids import ids_to_delete, refuse_odd_ids, refuse_other_ids
from headwater.estimators.stored.opening import opened
from headwater.estimators.stored.removing import compacted, without
from headwater.estimators.stored.sample_losses import tolerance_of
from headwater.estimators.stored.several import (
    asked,
    begun_by_first,
    refuse_other_bindings,
    writing,
)
from headwater.estimators.stored.store_files import store_info
from headwater.estimators.stored.vector_snapshot import snapshot_of
from headwater.estimators.stored.writing import DTYPES, Filling, free_bytes
from headwater.forms import Projected
from headwater.store import StoreFolder, is_url, send, workshop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from headwater.estimators.streamed import Streamed
    from headwater.estimators.tracincp_base import TracInCPBase
    from headwater.results import Scores
    from headwater.store import Manifest, Writer
    from headwater.tasks import Task


class GradientStore:
    """Training gradients on disk, for the estimator that they were computed by.

    Made by `GradientStore.build` and `GradientStore.open`. An open store shows the state of when it
    was opened, or last written to by itself, whatever others write meanwhile.

    In an initialised process group every method is for all ranks to call. They share the work, and
    have the files and answers of a single process; see `headwater.distributed.alone` for one rank.
    """

    def __init__(
        self, path: Path, estimator: TracInCPBase, parts: Streamed, manifest: Manifest
    ) -> None:
        self.path = path
        self._estimator = estimator
        self._parts = parts
        self._folder = StoreFolder(path)
        self._show(manifest)

    @classmethod
    def build(
        cls,
        estimator: TracInCPBase,
        path: str | Path,
        *,
        form: StoredForm | Projected | None = None,
        dtype: Literal["float64", "float32", "bfloat16", "float16"] = "float32",
        ids: Sequence[int | str] | None = None,
        show_progress: bool = False,
    ) -> GradientStore:
        """A store of the gradients of an estimator's training data; goes on where a build stopped.

        In a process group each rank writes the shards of its part, in one folder that all of them
        see. Another number of ranks, or one, may go on with what was stopped.

        Args:
            estimator: a `TracInCP`, `TracInCPFast` or `GradDot`; or a `TRAK`, `LoGra` or `LESS`, of
                which the vectors are kept that its scores are made of, and the store answers as it
                does.
            path: a folder, which is made; an interrupted build of the same in it goes on, and one
                that had ended is returned as it is. Or a URL that fsspec knows ("s3://..."): it is
                built in `HEADWATER_CACHE` and sent there when it is whole.
            form: "factored" keeps the factors of layers or, where those are more numbers, their
                gradients, which is exact and small; "materialised" writes all gradients out;
                `Projected(dim, seed)` keeps one vector of dim numbers per example for all
                checkpoints. None takes the estimator's own form, or "factored". TRAK, LoGra and
                LESS have their own.
            dtype: what numbers are stored as.
            ids: the examples' own names, texts or ints, all different; None numbers them from 0.
            show_progress: whether there is a bar, and the predicted size, on stderr.

        Raises:
            InputError: an argument is of the wrong kind.
            StoreMismatchError: the folder holds a store of something else, or of other ids.
            StoreError: the store there was appended to or deleted from since it was built, or the
                folder holds other files.
            StoreLockedError: another process is writing there.
            StoreWriteError: the disk is full, or would be.
            RankError: another rank failed, died or didn't come.
        """
        if is_url(path):
            refuse_ranks(str(path))
            here = workshop(str(path))
            options = {"form": form, "dtype": dtype, "ids": ids, "show_progress": show_progress}
            cls.build(estimator, here, **options)  # type: ignore[arg-type]
            send(str(path))
            return cls.open(path, estimator)
        parts = parts_of(estimator, form)
        if dtype not in DTYPES:
            raise InputError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
        refuse_odd_ids(ids, taken=frozenset(), count=parts.data.count)
        folder = StoreFolder(path_of(path))
        refuse_strangers(folder)
        facts = asked(
            "GradientStore.build",
            ids=ids,
            dtype=dtype,
            form=form_name(form, parts),
            examples=parts.data.count,
            checkpoints=parts.series.count,
            selection=parts.selection,
        )
        with Together.met(facts) as together:
            with together.step():
                stored = folder.read_manifest().binding if folder.exists() else None
            binding = binding_of(
                parts,
                form=form_name(form, parts),
                dtype=dtype,
                stored=stored,
                ranks=together if is_sharded(parts.net) else None,
            )
            refuse_other_bindings(together, binding)
            with writing(folder, together) as writer:
                tolerance = tolerance_of(parts.net)
                manifest = begun_by_first(together, folder, writer, binding, tolerance=tolerance)
                store = cls(folder.path, estimator, parts, manifest)
                refuse_other_ids(store.ids, ids, complete=manifest.complete)
                filling = Filling(
                    parts,
                    parts.data,
                    ids,
                    taken=frozenset(),
                    at_once=False,
                    name=f"store {folder.path.name}",
                    show_progress=show_progress,
                    together=together,
                )
                capture = Capture(parts.net, parts.selection)
                while not store._filled(writer, capture, filling):
                    # What was stored of a layer before is by a rule that turned out not to fit.
                    empty = replace(store._manifest, shards=(), next_shard=0, next_id=0, batches=0)
                    store._commit(writer, empty, together)
                return store

    @classmethod
    def open(cls, path: str | Path, estimator: TracInCPBase) -> GradientStore:
        """The store at a path, after a look at whether it is the estimator's.

        One at a URL is copied to `HEADWATER_CACHE` (else the user's folder for caches); a file that
        was copied before is not fetched again. It can be asked, and not written to.

        Loads every checkpoint once, reads a sample of the training data and takes its losses at
        each, and looks at the sizes and headers of all files; `verify` reads every byte.

        Raises:
            StoreNotFoundError: there is no store.
            StoreIncompleteError: its build was interrupted.
            StoreMismatchError: it was made of something else; names the field.
            StoreVersionError: it is of another version of the format.
            StoreCorruptError: a file is missing, cut off or changed.
            StoreUnsafeError: a file leads out of the folder.
        """
        own_path, parts, manifest = opened(path, estimator)
        return cls(own_path, estimator, parts, manifest)

    def __repr__(self) -> str:
        form = form_from_name(self._manifest.binding["form"])
        dtype = self._manifest.binding["dtype"]
        return (
            f"GradientStore({str(self.path)!r}, examples={len(self)}, form={form!r}, "
            f"dtype={dtype!r})"
        )

    def __fspath__(self) -> str:
        # So that it stands wherever its folder can, such as in the place of training data.
        return str(self.path)

    def __len__(self) -> int:
        return self._manifest.live

    @property
    def ids(self) -> list[int | str]:
        """The examples' ids, in the order of the columns of scores."""
        return self._snapshot.ids

    def info(self) -> dict[str, Any]:
        """What the store holds, and what it was made of."""
        return store_info(self.path, self._manifest)

    def verify(self) -> None:
        """Reads every byte of the store.

        Raises:
            StoreCorruptError: bytes aren't those that were written.
        """
        self._folder.verify(self._manifest)

    def scores(self, inputs: Any, targets: Any = None) -> Float[Tensor, "Q N"]:
        """All scores, a row per query and a column per example, in the order of `ids`."""
        return self._snapshot.scores(*self._query_task(inputs, targets))

    def self_influence(self) -> Float[Tensor, " N"]:
        """Every example's self-influence, from the store alone."""
        return self._snapshot.self_influence()

    def top_k(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        k: int = 5,
        side: Literal["proponents", "opponents"] = "proponents",
        recompute: int | None = None,
        approximate: int | None = None,
    ) -> StoreTopK:
        """The k strongest examples of every query; memory doesn't grow with their number.

        Args:
            inputs, targets: as for an estimator's `influence`.
            k: how many.
            side: whether the highest scores or the lowest.
            recompute: how many candidates per query, found in the store, are scored exactly from
                the model and the training data. Examples that were appended aren't in the
                estimator's data; they keep the store's scores, and `exact` says so.
            approximate: how many candidates per query faiss looks for, to be ranked by the store's
                own vectors; None goes through all of them. The index is made, in memory, when it
                is first asked for.

        Raises:
            InputError: an argument is of the wrong kind; `approximate` for a store without vectors.
            MissingDependencyError: `approximate` without faiss.
        """
        task, batch = self._query_task(inputs, targets)
        return self._snapshot.top_k(
            task, batch, k=k, side=side, recompute=recompute, approximate=approximate
        )

    def attribute(
        self,
        inputs: Any = None,
        targets: Any = None,
        *,
        examples: Mapping[str, Any] | None = None,
        queries: Mapping[str, Any] | None = None,
    ) -> Scores:
        """The store's scores as `Scores`: with the store's ids, a meaning, and ways into tables.

        Args:
            inputs, targets: as for `scores`; inputs=None asks for self-influence.
            examples: what is known of the examples, a column by name. They are found in it by their
                ids in its column "id" or, without one, by their place.
            queries: what is known of the queries, likewise, in their order.

        Raises:
            InputError: a column has another length than there are queries, or an id isn't known.
        """
        question: Question | None = None
        if inputs is not None:
            task, batch = self._query_task(inputs, targets)
            question = Question.of(task, batch)
        return scores_with_meaning(
            self._snapshot,
            self._estimator,
            self.path,
            question,
            of_outputs=targets is None,
            examples=examples,
            queries=queries,
        )

    def append(
        self,
        dataset: Any,
        *,
        ids: Sequence[int | str] | None = None,
        show_progress: bool = False,
    ) -> None:
        """Adds examples, all of them or none.

        Args:
            dataset: a Dataset or DataLoader, as for an estimator.
            ids: their ids; None goes on numbering.
            show_progress: whether there is a bar.

        Raises:
            InputError: an id is taken.
            StoreLockedError, StoreWriteError: see `build`.
        """
        estimator = self._estimator
        refuse_misplaced_tensors(
            dataset, name="dataset", task_given=estimator._given_task is not None
        )
        data = estimator._examples(dataset, "auto")
        with self._writing(asked("append", ids=ids, examples=data.count)) as (writer, together):
            filling = Filling(
                self._parts,
                data,
                ids,
                taken=frozenset(self.ids),
                at_once=True,
                name=f"append to {self.path.name}",
                show_progress=show_progress,
                together=together,
                others=self._manifest.next_id,
            )
            capture = Capture(self._parts.net, self._parts.selection)
            try:
                while not self._filled(writer, capture, filling):
                    writer.clean(self._manifest)
            finally:
                writer.clean(self._manifest)

    def delete(self, ids: Iterable[int | str]) -> None:
        """Leaves examples out of all answers from now on; `compact` removes them from the disk.

        Raises:
            InputError: `ids` is no list of ids, or one isn't in the store; nothing was deleted.
        """
        doomed = ids_to_delete(ids)
        with self._writing(asked("delete", ids=doomed)) as (writer, together):
            fewer = without(self._manifest, self._snapshot.shards, doomed)
            self._commit(writer, fewer, together)

    def compact(self) -> None:
        """Writes shards with deleted examples anew without them, and removes the old files.

        Once it has returned, no number of a deleted example is in any file of the folder.
        """
        with self._writing(asked("compact", ids=None)) as (writer, together):
            smaller = None
            if together.rank == 0:
                smaller = compacted(self._manifest, self._snapshot.shards, writer)
            self._commit(writer, together.agreed(smaller), together)
            writer.clean(self._manifest)

    def _query_task(self, inputs: Any, targets: Any) -> tuple[Task, Any]:
        return self._estimator._query_task(self._estimator._arguments(inputs), targets)

    def _show(self, manifest: Manifest) -> None:
        self._snapshot = snapshot_of(self._parts, manifest, self._folder.open_shards(manifest))

    @property
    def _manifest(self) -> Manifest:
        return self._snapshot.manifest

    def _commit(self, writer: Writer, manifest: Manifest, together: Together) -> None:
        writer.commit(manifest)
        # The shards that the others open are those of a state that is there.
        together.told(None)
        self._show(manifest)

    @contextmanager
    def _writing(self, facts: Mapping[str, Any]) -> Iterator[tuple[Writer, Together]]:
        with Together.met(facts) as together, writing(self._folder, together) as writer:
            # Another process may have written since this one looked.
            manifest = together.agreed(self._folder.read_manifest())
            if manifest.binding != self._manifest.binding:
                raise StoreMismatchError(
                    f"the store at {self.path} was replaced by another; open it again"
                )
            self._show(manifest)
            writer.clean(self._manifest)
            yield writer, together

    def _filled(self, writer: Writer, capture: Capture, filling: Filling) -> bool:
        """Writes what isn't stored yet, and commits; False if it has to be tried again."""
        if self._manifest.complete and not filling.at_once:
            return True
        filled = filling.filled(writer, capture, self._manifest, free_bytes(self.path))
        if filled is not None:
            self._commit(writer, filled, filling.together)
        return filled is not None
