"""Training examples whose labels look wrong, by several signals together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from headwater.checkpoints import default_checkpoints_load_func
from headwater.cleaning.chosen import agreement, candidates, chosen
from headwater.cleaning.combined import combined
from headwater.cleaning.features import Shortened, lengths
from headwater.cleaning.fingerprint import fingerprint_of
from headwater.cleaning.observed import observe
from headwater.cleaning.opinions import Features, against, disputed, opinions
from headwater.cleaning.suspects import Suspects, refuse_reserved
from headwater.distributed import present
from headwater.engine import memory_budget_bytes
from headwater.errors import InputError
from headwater.estimators import TracInCP, TracInCPBase
from headwater.estimators.streamed import Streamed
from headwater.results.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import nn

    from headwater.tasks import Task


def find_suspects(
    model: nn.Module,
    dataset: Any,
    checkpoints: Any,
    checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
    loss_fn: Callable[..., Any] | None = None,
    *,
    task: Task | None = None,
    layers: Iterable[str] | None = None,
    learning_rates: Iterable[float] | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    memory_budget: int | str = "auto",
    n_checkpoints: int = 8,
    labels: Sequence[int] | Tensor | None = None,
    ids: Sequence[Any] | None = None,
    examples: Mapping[str, Any] | None = None,
    features: Features | Tensor | None = "auto",
    neighbours: int = 10,
    show_progress: bool = False,
) -> Suspects:
    """The training examples of a classifier, ranked by how suspect their labels are.

    Args:
        model, dataset, checkpoints, checkpoints_load_func, loss_fn, task, layers, learning_rates,
        collate_fn, batch_size, memory_budget: as `TracInCP` takes them; `dataset` is its
            `influence_src_dataset`.
        n_checkpoints: at how many checkpoints to look at the most; which ones is chosen.
        labels: the given labels, one class per example; None reads them from the batches.
        ids: the examples' own names.
        examples: what else is known of the examples, a column by name; it goes into tables.
        features: what neighbours are near in. "penultimate": what the last linear layer reads;
            "inputs": what the model reads; a matrix (N, D) of your own, such as the embeddings of
            a pretrained model; "auto": what is there; None leaves these signals out.
        neighbours: how many neighbours vote.
        show_progress: whether bars are shown, on stderr.

    Raises:
        InputError: the model isn't a classifier, the labels aren't classes, the checkpoints come
            from a generator, or an argument is none of the above.
    """
    if loss_fn is None and task is None:
        loss_fn = torch.nn.CrossEntropyLoss(reduction="none")
    estimator = TracInCP(
        model,
        dataset,
        checkpoints,
        checkpoints_load_func,
        layers,
        loss_fn,
        batch_size,
        getattr(loss_fn, "reduction", None) in ("sum", "mean"),
        learning_rates=learning_rates,
        task=task,
        memory_budget=memory_budget,
        collate_fn=collate_fn,
    )
    return suspects_of(
        estimator,
        n_checkpoints=n_checkpoints,
        labels=labels,
        ids=ids,
        examples=examples,
        features=features,
        neighbours=neighbours,
        show_progress=show_progress,
    )


def suspects_of(
    estimator: TracInCPBase,
    *,
    n_checkpoints: int = 8,
    labels: Sequence[int] | Tensor | None = None,
    ids: Sequence[Any] | None = None,
    examples: Mapping[str, Any] | None = None,
    features: Features | Tensor | None = "auto",
    neighbours: int = 10,
    show_progress: bool = False,
) -> Suspects:
    """`find_suspects` with the model, data, checkpoints and loss of an estimator.

    Args:
        estimator: a `TracInCP`, or a `TracInCPFast`, whose self-influence is the last layer's.
        n_checkpoints, labels, ids, examples, features, neighbours, show_progress: see
            `find_suspects`.
    """
    parts: Any = getattr(estimator, "_streamed", None)
    if not isinstance(parts, Streamed):
        raise InputError(
            f"estimator is a {type(estimator).__name__}; expected a TracInCP or TracInCPFast of "
            f"the training data"
        )
    columns = {**({} if ids is None else {"id": ids}), **dict(examples or {})}
    refuse_reserved(columns)
    series = candidates(parts.series)
    looked_at = parts.with_series(series)
    given = None if labels is None else torch.as_tensor(labels).long().cpu()
    budget = memory_budget_bytes(parts.memory_budget) // 2
    length, input_length = lengths(parts.data.count, series.count or 1, budget)
    ranks = present()
    if ranks is not None:
        # Each looks by itself; what depends on a rank's own memory has to be the same on all.
        told = ranks.gathered_object((length, input_length))
        length, input_length = (min(one) for one in zip(*told, strict=True))
    seen = observe(
        looked_at,
        given,
        keep=None if features is None else Shortened(length),
        keep_inputs=None if features is None else Shortened(input_length),
        show_progress=show_progress,
    )
    others = opinions(seen, features, neighbours)
    independent = seen.predicted[-1] if others.mean is None else others.mean.argmax(dim=1)
    agreements = agreement(seen.predicted, independent)
    places, reason = chosen(agreements, seen.names, n_checkpoints, len(seen.labels))
    if ranks is not None:
        places, reason = ranks.gathered_object((places, reason))[0]
    chosen_parts = looked_at.with_series(series.picked(places))
    signals = {
        "loss": seen.losses[places].mean(dim=0),
        "margin": -seen.margin[places].mean(dim=0),
        "self_influence": chosen_parts.self_influence(show_progress=show_progress),
        **{name: against(votes, seen.labels) for name, votes in others.votes.items()},
    }
    likely = torch.stack([seen.probabilities, *others.votes.values()])
    support, suggested = likely.mean(dim=0).max(dim=1)
    return Suspects(
        scores=combined(signals),
        signals=signals,
        labels=seen.labels,
        suggested=suggested,
        support=support,
        confidence=seen.confidence[places],
        predicted=seen.predicted[places],
        predicted_confidence=seen.predicted_confidence[places],
        losses=seen.losses[places],
        twins=others.twins,
        disputed=disputed(seen.predicted[places], others.votes.values(), seen.labels),
        checkpoints=tuple(seen.names[place] for place in places),
        reason=reason,
        data=fingerprint_of(estimator),
        examples=Names("training example", columns, len(seen.labels), indexed=True),
        notes=others.notes,
    )
