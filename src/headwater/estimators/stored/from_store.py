"""A store in the place of training data: an estimator that is given one answers from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from headwater.distributed import Together
from headwater.errors import InputError
from headwater.estimators.results import KMostInfluentialResults
from headwater.estimators.store_place import names_store
from headwater.estimators.stored.binding import (
    checkpoints_binding,
    complete_manifest,
    form_from_name,
    form_name,
    form_of,
    model_binding,
    path_of,
    refuse_mismatch,
)
from headwater.estimators.stored.sample_losses import tolerance_of
from headwater.estimators.stored.vector_snapshot import snapshot_of
from headwater.forms import Projected
from headwater.store import StoreFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from headwater.engine.sink import AnySink
    from headwater.estimators.question import Question
    from headwater.estimators.streamed import Streamed
    from headwater.tasks import Task


class Answering(Protocol):
    """Whatever answers an estimator's three questions."""

    def self_influence(self, *, show_progress: bool) -> Float[Tensor, " N"]:
        """Every training example's self-influence."""

    def scores(self, task: Task, batch: Any, *, show_progress: bool) -> Float[Tensor, "Q N"]:
        """All scores."""

    def top_k(
        self,
        task: Task,
        batch: Any,
        *,
        k: int,
        side: Literal["proponents", "opponents"],
        show_progress: bool,
    ) -> KMostInfluentialResults:
        """Each query's k highest or lowest scores."""

    def stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        """The sink with the answer's columns in it; see `Streamed.stream`."""


def answering(parts: Streamed, source: Any, checkpoints: Any) -> Answering:
    """What answers an estimator's questions: its own pass over the data, or a store.

    Args:
        parts: the estimator's.
        source: its `influence_src_dataset`.
        checkpoints: its `checkpoints`.
    """
    if names_store(source):
        return FromStore(path_of(source), parts, without_checkpoints=checkpoints is None)
    return parts


class FromStore:
    """The answers of `Streamed` from a store, without its training data.

    Args:
        path: the store's folder.
        parts: the estimator's. The checkpoints are visited for the gradients of queries, and once
            here, to be held against those that the store was made of.
        without_checkpoints: there are none; then only self-influence can be answered.

    Raises:
        StoreError: there is no such store, it isn't whole, or it was made of something else.
    """

    def __init__(self, path: Path, parts: Streamed, *, without_checkpoints: bool) -> None:
        folder = StoreFolder(path)
        with Together.sharing(
            parts.net, {"what is asked": "whether a store is this model's"}
        ) as ranks:
            manifest = complete_manifest(folder, ranks)
            given = model_binding(parts)
            if not without_checkpoints:
                given |= checkpoints_binding(parts, ranks=ranks)
        stored_form = manifest.binding["form"]
        if parts.form is not None:
            given["form"] = form_name(None, parts)
        else:
            given["form"] = form_of(parts, stored_form)
        stored = {field: manifest.binding.get(field) for field in given}
        refuse_mismatch(stored, given, tolerance=tolerance_of(parts.net))
        form = form_from_name(stored_form)
        stored_as = parts.with_form(form if isinstance(form, Projected) else None)
        self._path = path
        self._without_checkpoints = without_checkpoints
        self._snapshot = snapshot_of(stored_as, manifest, folder.open_shards(manifest))

    def self_influence(self, *, show_progress: bool) -> Float[Tensor, " N"]:
        """Every stored example's self-influence."""
        return self._snapshot.self_influence()

    def scores(self, task: Task, batch: Any, *, show_progress: bool) -> Float[Tensor, "Q N"]:
        """All scores, a column per stored example."""
        self._refuse_without_checkpoints()
        return self._snapshot.scores(task, batch)

    def top_k(
        self,
        task: Task,
        batch: Any,
        *,
        k: int,
        side: Literal["proponents", "opponents"],
        show_progress: bool,
    ) -> KMostInfluentialResults:
        """Each query's k highest or lowest scores."""
        self._refuse_without_checkpoints()
        found = self._snapshot.top_k(task, batch, k=k, side=side)
        return KMostInfluentialResults(found.indices, found.influence_scores)

    def stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        """The sink with the answer's columns in it."""
        if question is not None:
            self._refuse_without_checkpoints()
        return self._snapshot.stream(question, sink)

    @property
    def ids(self) -> list[int | str]:
        """The stored examples' ids, in the order of columns."""
        return self._snapshot.ids

    def _refuse_without_checkpoints(self) -> None:
        if self._without_checkpoints:
            raise InputError(
                f"checkpoints is None, so the estimator has nothing but the store at {self._path}, "
                f"which is enough for self-influence; a query's own gradient is taken at the "
                f"checkpoints that the store was made of: pass them"
            )
