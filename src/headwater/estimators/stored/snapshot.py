"""What a store says at one moment, whatever is written to it afterwards."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.capture import Capture, PlanChanged
from headwater.capture.precision import held_dtype
from headwater.distributed import Together
from headwater.errors import InputError
from headwater.estimators.query_batches import query_batches
from headwater.estimators.stored.answers import Answers, StoreTopK, in_order_of_parameters
from headwater.estimators.stored.search import ApproximateSearch
from headwater.estimators.stored.two_stage import recomputed
from headwater.estimators.stored.writing import DTYPES, captured_parts
from headwater.forms.projected import PROJECTED
from headwater.query import AllScores, TopK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.engine.sink import AnySink
    from headwater.estimators.question import Question
    from headwater.estimators.streamed import Streamed
    from headwater.forms import Gradients
    from headwater.store import Manifest, Shard
    from headwater.tasks import Task


def like_queries(parts: Streamed) -> Tensor:
    """An empty tensor of the dtype that queries' gradients have, whatever the store keeps."""
    named = dict(parts.net.named_parameters())
    return torch.empty(0, dtype=held_dtype(named[name] for name in parts.selection))


class Snapshot:
    """The shards of one state of a store, and the parts of an estimator that queries go through.

    Args:
        parts: an estimator's, in the store's form.
        manifest: the state.
        shards: its shards, open.
    """

    def __init__(self, parts: Streamed, manifest: Manifest, shards: Sequence[Shard]) -> None:
        self.manifest = manifest
        self.shards = shards
        self._parts = parts
        self._answers = Answers(shards, manifest.weights)
        self._search: ApproximateSearch | None = None

    @property
    def ids(self) -> list[int | str]:
        """The examples' ids, in the order of the columns of scores."""
        return [one for shard in self.shards for one in shard.ids]

    def scores(self, task: Task, batch: Any) -> Float[Tensor, "Q N"]:
        """All scores.

        Args:
            task: what is differentiated for a query.
            batch: the queries, as a batch that the task reads.
        """
        queries = self._queries(task, batch)
        sink = AllScores(queries[0].batch_size, self.manifest.live)
        return self._answers.pairs(sink, queries).result()

    def self_influence(self) -> Float[Tensor, " N"]:
        """Every example's self-influence."""
        return self._answers.self_influence(AllScores(1, self.manifest.live), self._like).result()[
            0
        ]

    def stream(self, question: Question | None, sink: Callable[[], AnySink]) -> AnySink:
        """The sink with the answer's columns in it; see `Streamed.stream`."""
        if question is None:
            return self._answers.self_influence(sink(), self._like)
        queries = self._queries(question.task, question.batch, summed=question.summed)
        return self._answers.pairs(sink(), queries)

    def top_k(
        self,
        task: Task,
        batch: Any,
        *,
        k: int,
        side: Literal["proponents", "opponents"],
        recompute: int | None = None,
        approximate: int | None = None,
    ) -> StoreTopK:
        """The strongest examples of every query; see `scores` and `GradientStore.top_k`."""
        self._refuse_odd(k, side, recompute=recompute, approximate=approximate)
        queries = self._queries(task, batch)
        second_stage = recompute is not None and not self._is_exact
        wanted = max(k, recompute or 0) if second_stage else k
        if approximate is None:
            sink = TopK(queries[0].batch_size, k=wanted, side=side)
            indices, scores = self._answers.pairs(sink, queries).result()
        else:
            places = self._searched(queries, max(approximate, wanted), side)
            indices, scores = self._answers.top_k_among(places, queries, k=wanted, side=side)
        exact = torch.full(indices.shape, self._is_exact)
        if second_stage:
            indices, scores, exact = recomputed(
                self._parts.with_form(None),
                task,
                batch,
                indices,
                scores,
                ordinals=torch.cat([shard.ordinals for shard in self.shards]),
                built=self.manifest.built,
                k=k,
                side=side,
            )
        ids = self.ids
        named = [[ids[place] for place in row] for row in indices.tolist()]
        return StoreTopK(indices, scores, named, exact)

    @staticmethod
    def _refuse_odd(k: int, side: str, **candidates: int | None) -> None:
        if not isinstance(k, int) or isinstance(k, bool) or k < 0:
            raise InputError(f"k is {k!r}; expected an int of at least 0")
        if side not in ("proponents", "opponents"):
            raise InputError(f"side is {side!r}; expected 'proponents' or 'opponents'")
        for name, count in candidates.items():
            if count is not None and (not (isinstance(count, int) and count >= max(1, k))):
                raise InputError(
                    f"{name} is {count!r}; expected a number of candidates, at least k"
                )

    @property
    def _is_exact(self) -> bool:
        # To the rounding of float32, as an estimator's own scores are.
        dtype = self.manifest.binding["dtype"]
        return self._parts.form is None and dtype in ("float64", "float32")

    def _searched(
        self, queries: list[Gradients], count: int, side: Literal["proponents", "opponents"]
    ) -> Int[Tensor, " M"]:
        """The places that faiss finds for any of the queries, ascending."""
        if self._parts.form is None:
            raise InputError(
                "an approximate search needs a vector per example; build the store with "
                "form=Projected(dim=...)"
            )
        if self._search is None:
            self._search = ApproximateSearch(
                lambda: self._answers.vectors(self._like), self.manifest.live, self._parts.form.dim
            )
        vectors = queries[0].forms[PROJECTED].materialise()
        sign = 1 if side == "proponents" else -1
        return self._search.candidates(sign * vectors, min(count, self.manifest.live))

    @property
    def _like(self) -> Tensor:
        stored = DTYPES[self.manifest.binding["dtype"]]
        return torch.empty(0, dtype=torch.promote_types(stored, torch.float32))

    def _queries(self, task: Task, batch: Any, *, summed: bool = False) -> list[Gradients]:
        """The queries' gradients, by part, in forms for products with many examples.

        Args:
            summed: whether their sum is wanted, as one.
        """
        data, size = query_batches(task, batch)
        capture = Capture(self._parts.net, self._parts.selection)
        binding, joined = self.manifest.binding, None
        facts = {"what is asked": "gradients of queries", "their number": size}
        with Together.sharing(self._parts.net, facts) as ranks:
            while joined is None:
                with suppress(PlanChanged):
                    joined = captured_parts(self._parts, capture, data, task, binding, ranks)
        if summed:
            return [part.summed() for part in joined]
        return [in_order_of_parameters(part.for_pairs(queries=size)) for part in joined]
