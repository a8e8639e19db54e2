"""RepresentationSimilarity: how alike a model's inner representations of two examples are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from headwater.engine.cosines import normalised_rows
from headwater.errors import InputError, ModelError, NonFiniteError, SelectionError
from headwater.estimators.baselines.forward_estimator import ForwardEstimator
from headwater.estimators.query_batches import query_batches
from headwater.estimators.results import KMostInfluentialResults
from headwater.results import Wording
from headwater.tasks import Task
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float
    from typing_extensions import Unpack

    from headwater.engine.forward_pass import ForwardPass
    from headwater.estimators.baselines.forward_estimator import ForwardOptions


class RepresentationSimilarity(ForwardEstimator):
    """The similarity of a layer's representations of a query and a training example.

        influence(q, n) = 1/C sum over c of sim(h_c(q), h_c(n)),    sim a cosine or a dot product

    Says which training examples look alike to the model, whatever they taught it: labels play no
    part. self_influence(n) is ||h(n)||^2, averaged; with cosines there is none.

    Args:
        layer: the module, by dotted name, whose output represents an example; None takes what comes
            into the last `nn.Linear` of the model.
        similarity: "cosine" or "dot".
        pool: from the layer's (B, ...) to (B, H), such as `lambda h: h.mean(dim=1)` for texts of
            different lengths; None flattens.
        model, influence_src_dataset, checkpoints: see `TracInCP`; rates don't count.
        options: see `ForwardOptions`; the loss doesn't count.

    Raises:
        SelectionError: there is no such layer.
        InputError: `similarity` is neither, the checkpoints come from a generator, or the data is a
            store.
        ModelError: upon a question, if the layer isn't called once in a forward pass.
        NonFiniteError: upon a question, if a representation isn't finite, or is zero and cosines
            are asked for.

    Source: Hanawa et al. (2021), arXiv 2006.04528, on similarities as explanations.
    """

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        *,
        layer: str | None = None,
        similarity: Literal["cosine", "dot"] = "cosine",
        pool: Callable[[Tensor], Tensor] | None = None,
        **options: Unpack[ForwardOptions],
    ) -> None:
        if similarity not in ("cosine", "dot"):
            raise InputError(f"similarity is {similarity!r}; expected 'cosine' or 'dot'")
        super().__init__(model, influence_src_dataset, checkpoints, **options)
        self.layer = layer
        self.similarity = similarity
        self.pool = pool
        self._module = _layer(self._net, layer)
        what = "cosine" if similarity == "cosine" else "dot product"
        self._wording = Wording(
            formula=f"influence(q, n) = mean over checkpoints of the {what} of representations",
            unit="none: between -1 and 1" if similarity == "cosine" else "that of activations^2",
            sign="positive: alike to the model; what an example taught it plays no part",
            own_formula="self_influence(n) = mean over checkpoints of ||representation of n||^2",
            own_unit="that of activations^2",
            own_sign="never negative; high for examples that the layer answers to strongly",
        )

    def _refuse_odd_arguments(self, inputs: Any, targets: Any, k: int | None) -> None:
        super()._refuse_odd_arguments(inputs, targets, k)
        if inputs is None and self.similarity == "cosine":
            raise InputError(
                "RepresentationSimilarity has no self-influence: the cosine of a representation "
                "with itself is 1, for every example"
            )

    def _self_influence(self, show_progress: bool = False) -> Float[Tensor, " N"]:
        return self._matrix(None, show_progress)[0]

    def _influence(
        self, inputs: tuple[Any, ...], targets: Any = None, show_progress: bool = False
    ) -> Float[Tensor, "Q N"]:
        return self._matrix(self._query_task(inputs, targets), show_progress)

    def _get_k_most_influential(
        self,
        inputs: tuple[Any, ...],
        targets: Any = None,
        k: int = 5,
        proponents: bool = True,
        show_progress: bool = False,
    ) -> KMostInfluentialResults:
        scores = self._influence(inputs, targets, show_progress)
        return KMostInfluentialResults.among(scores, k=k, proponents=proponents)

    def _matrix(self, asked: tuple[Task, Any] | None, show_progress: bool) -> Float[Tensor, "Q N"]:
        def told(passing: ForwardPass) -> Tensor:
            queries = None if asked is None else self._queries(*asked)
            columns = []
            for start, found in passing.rows(self._represented):
                rows = self._comparable(found, "training example", start)
                if queries is None:
                    columns.append(rows.square().sum(dim=1)[None])
                else:
                    columns.append(_product(queries, rows))
            return torch.cat(columns, dim=1)

        return self._mean(_Represented(self._represented), told, show_progress=show_progress)

    def _queries(self, task: Task, batch: Any) -> Float[Tensor, "Q H"]:
        data, size = query_batches(task, batch)
        device = next(self._net.parameters()).device
        with torch.no_grad():
            found = [self._represented(borrow(piece, device)) for piece in data.batches(size)]
        return self._comparable(torch.cat(found), "query", 0)

    def _represented(self, batch: Any) -> Float[Tensor, "B H"]:
        with _seen(self._module, of_input=self.layer is None) as seen:
            if self._given_task is not None:
                self._given_task.losses(self._net, batch)
            else:
                self._net(*batch[:-1])
        if len(seen) != 1:
            raise ModelError(
                f"the layer {self.layer or 'that represents an example'!r} is called {len(seen)} "
                f"times in a forward pass; name one that is called once: layer=..."
            )
        pooled = seen[0].flatten(1) if self.pool is None else self.pool(seen[0])
        if not isinstance(pooled, Tensor) or pooled.dim() != 2:
            raise InputError(f"pool made {type(pooled).__name__}; expected a tensor (B, H)")
        return pooled.float() if pooled.dtype.itemsize < 4 else pooled

    def _comparable(self, rows: Tensor, kind: str, first: int) -> Float[Tensor, "B H"]:
        odd = torch.isfinite(rows).all(dim=1).logical_not().nonzero().flatten()
        if len(odd):
            raise NonFiniteError(
                f"{kind} {first + int(odd[0])} has a representation with NaN or Inf"
            )
        return (
            normalised_rows(rows, kind=kind, first=first) if self.similarity == "cosine" else rows
        )


class _Represented(Task):
    """Representations as what examples are made of, so that a batch's size can be measured."""

    def __init__(self, represented: Callable[[Any], Tensor]) -> None:
        self._represented = represented

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        return self._represented(batch).sum(dim=1)


def _product(queries: Tensor, rows: Tensor) -> Tensor:
    if queries.shape[1] != rows.shape[1]:
        raise InputError(
            f"representations of queries have {queries.shape[1]} numbers and those of training "
            f"examples {rows.shape[1]}, as of texts of different lengths; pass pool=..., such as "
            f"lambda h: h.mean(dim=1)"
        )
    return queries @ rows.mT


def _layer(net: nn.Module, name: str | None) -> nn.Module:
    modules: dict[str, nn.Module] = dict(net.named_modules())
    if name is not None:
        if name not in modules or not name:
            raise SelectionError(
                f"layer is {name!r}, which is no module of the model; see model.named_modules()"
            )
        return modules[name]
    last: nn.Module | None = None
    for module in modules.values():
        last = module if isinstance(module, nn.Linear) else last
    if last is None:
        raise SelectionError(
            "the model has no nn.Linear whose input could represent an example; name a layer, "
            "whose output does: layer=..."
        )
    return last


@contextmanager
def _seen(module: nn.Module, *, of_input: bool) -> Iterator[list[Tensor]]:
    """Within, what goes into a module, or comes out of it, call by call."""
    seen: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        found = args if of_input else output
        # Of several, as a recurrent layer returns them, the first is the representation.
        while isinstance(found, (tuple, list)) and found:
            found = found[0]
        if isinstance(found, Tensor):
            seen.append(found.detach())

    handle = module.register_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()
