"""Everything that a report computes, before it is laid out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.cleaning import Suspects, suspects_of
from headwater.errors import InputError
from headwater.estimators import TracInCP, TracInCPFast
from headwater.report.ask import arguments_of, picked
from headwater.report.contents import Contents
from headwater.report.contributions import contributions
from headwater.report.data_digest import DataDigest
from headwater.report.explanations import Explanation, explanations
from headwater.report.neighbours import near_duplicates
from headwater.report.outputs import Outputs, outputs_of
from headwater.report.tracing import traced
from headwater.results.names import as_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jaxtyping import Bool, Float

    from headwater.engine import TrainingData
    from headwater.estimators import TracInCPBase
    from headwater.estimators.question import Question
    from headwater.estimators.streamed import Streamed
    from headwater.report.options import Options
    from headwater.report.votes import Traced
    from headwater.results.names import Names

# Training examples on which checkpoints' contributions are measured.
_MEASURED = 512
TEXT = "text"
SUSPICION = "suspicion"
SELF_INFLUENCE = "self-influence"
MEAN_LOSS = "mean loss"


@dataclass
class Findings:
    """What was found.

    Attributes:
        contents: what the training examples look like.
        digest: of the training data.
        outputs: what the model says of them.
        self_influence: theirs.
        suspects: what the signals together say of the labels; None where these are no classes.
        rankings: scores to sort by, by name; the first is the page's own.
        compared: rankings and signals that are held against the truth, where that is known.
        order: places of the examples on the page, by the first ranking.
        wrong: which labels are known to be wrong; None where the truth isn't known.
        duplicates: by place in `order`, the nearest example with another label, if it is near.
        traced: proponents and opponents of the first suspects.
        terms: each checkpoint's term in the self-influence of some examples; None where it isn't a
            sum over checkpoints.
        queries: what is asked about; None where nothing is.
    """

    contents: Contents
    digest: DataDigest
    outputs: Outputs
    self_influence: Float[Tensor, " N"]
    suspects: Suspects | None
    rankings: dict[str, Float[Tensor, " N"]]
    compared: dict[str, Float[Tensor, " N"]]
    order: list[int]
    wrong: Bool[Tensor, " N"] | None
    duplicates: list[int | None]
    traced: dict[int, Traced]
    terms: Float[Tensor, "C M"] | None
    queries: QueryFindings | None = None


@dataclass
class QueryFindings:
    """What was found of the queries.

    Attributes:
        count: how many queries there are, Q.
        places: of those that are explained, among the queries.
        contents: what these look like.
        outputs: what the last checkpoint says of all queries.
        explanations: of those that are explained.
        heat: mean scores, by class of the query and class of the training example; None where there
            are no classes.
        heat_rows: the classes of the queries.
        heat_columns: the classes of the training examples.
    """

    count: int
    places: list[int]
    contents: Contents
    outputs: Outputs
    explanations: list[Explanation]
    heat: Float[Tensor, "G H"] | None = None
    heat_rows: list[int] = field(default_factory=list)
    heat_columns: list[int] = field(default_factory=list)


def find(
    estimator: TracInCPBase,
    parts: Streamed,
    question: Question | None,
    examples: Names,
    queries: Names,
    options: Options,
    *,
    show_progress: bool,
) -> Findings:
    """Computes all of it; arguments as in `Report`."""
    count = parts.data.count
    assert count is not None
    outputs = outputs_of(parts, parts.task)
    texts = examples.columns.get(TEXT)
    digest = DataDigest(parts.data)
    contents = Contents(
        digest.through(parts.data.batches(parts.data.batch_size or 256)),
        partial(_again, parts.data),
        rows=_dict_rows(parts, count),
        texts=texts,
        kind=options.kind,
        decode=options.decode,
        features=options.feature_names,
    )
    suspects = options.suspects
    if suspects is None and outputs.given is not None and _sums_checkpoints(estimator):
        suspects = suspects_of(estimator, show_progress=show_progress)
    scores = _self_influence(estimator, outputs, suspects, show_progress=show_progress)
    rankings = _rankings(options, scores, outputs, suspects)
    first = next(iter(rankings.values()))
    order = first.argsort(descending=True, stable=True)[: options.max_examples]
    first_few = order[: options.traced].tolist()
    given = outputs.given
    duplicates: list[int | None] = [None] * len(order)
    if given is not None:
        duplicates = near_duplicates(contents.vectors(), given, order, kind=contents.kind)
    found = Findings(
        contents=contents,
        digest=digest,
        outputs=outputs,
        self_influence=scores,
        suspects=suspects,
        rankings=rankings,
        compared=_compared(rankings, suspects, outputs),
        order=order.tolist(),
        wrong=_wrong(options, examples, outputs, count),
        duplicates=duplicates,
        traced=traced(estimator, parts, first_few, k=options.k, show_progress=show_progress),
        terms=contributions(parts, _spread(count, _MEASURED), outputs.checkpoints)
        if _sums_checkpoints(estimator)
        else None,
    )
    if question is not None:
        found.queries = _of_queries(
            estimator,
            parts,
            question,
            examples,
            queries,
            outputs,
            options,
            contents.kind,
            show_progress=show_progress,
        )
    return found


def _self_influence(
    estimator: TracInCPBase, outputs: Outputs, suspects: Suspects | None, *, show_progress: bool
) -> Float[Tensor, " N"]:
    every = tuple(one.name for one in outputs.checkpoints)
    if suspects is not None and suspects.checkpoints == every and _sums_checkpoints(estimator):
        known = suspects.signals.get("self_influence")
        if known is not None:
            # The same sum over the same checkpoints: the one pass that takes time isn't made twice.
            return known
    scores = estimator.influence(show_progress=show_progress)
    assert isinstance(scores, Tensor)
    return scores


def _sums_checkpoints(estimator: TracInCPBase) -> bool:
    return isinstance(estimator, (TracInCP, TracInCPFast))


def _rankings(
    options: Options,
    scores: Float[Tensor, " N"],
    outputs: Outputs,
    suspects: Suspects | None,
) -> dict[str, Float[Tensor, " N"]]:
    """Those of the user's own first, then the signals together, then each that has a column."""
    found: dict[str, Tensor] = {}
    for name, given in (options.rankings or {}).items():
        column = torch.as_tensor(given, dtype=torch.float64).flatten().cpu()
        if len(column) != len(scores) or not bool(torch.isfinite(column).all()):
            raise InputError(
                f"the ranking {name!r} has {len(column)} entries, "
                f"{int(torch.isfinite(column).sum())} of them finite, for {len(scores)} training "
                f"examples; give one finite number per example"
            )
        found[str(name)] = column
    if suspects is not None:
        if len(suspects) != len(scores):
            raise InputError(
                f"suspects are of {len(suspects)} training examples, and the estimator has "
                f"{len(scores)}; pass those of the same data"
            )
        found[SUSPICION] = suspects.scores.double()
    found[SELF_INFLUENCE] = scores.double()
    found[MEAN_LOSS] = outputs.losses.mean(dim=0)
    return found


def _compared(
    rankings: dict[str, Float[Tensor, " N"]], suspects: Suspects | None, outputs: Outputs
) -> dict[str, Float[Tensor, " N"]]:
    signals = {} if suspects is None else suspects.signals
    others = {
        name.replace("_", " "): signal
        for name, signal in signals.items()
        if name not in ("self_influence", "loss")
    }
    return {**rankings, "loss at the last checkpoint": outputs.losses[-1], **others}


def _wrong(
    options: Options, examples: Names, outputs: Outputs, count: int
) -> Bool[Tensor, " N"] | None:
    if options.truth is None:
        return None
    if isinstance(options.truth, str):
        truth = examples.column(options.truth)
    else:
        truth = as_list(options.truth, "truth", "training example")
    if len(truth) != count:
        raise InputError(f"truth has {len(truth)} entries for {count} training examples")
    if outputs.given is None:
        raise InputError("truth is given, and the training data has no classes to compare it with")
    names = options.class_names
    by_name = {str(name): place for place, name in enumerate(names or [])}
    classes = [by_name.get(one, one) if isinstance(one, str) else one for one in truth]
    odd = next((one for one in classes if not isinstance(one, int)), None)
    if odd is not None:
        raise InputError(
            f"truth has the entry {odd!r}; expected classes, as the labels of the training data "
            f"are, or their names in class_names"
        )
    return torch.tensor(classes) != outputs.given


def _of_queries(
    estimator: TracInCPBase,
    parts: Streamed,
    question: Question,
    examples: Names,
    queries: Names,
    training: Outputs,
    options: Options,
    kind: Any,
    *,
    show_progress: bool,
) -> QueryFindings:
    size = question.size
    outputs = outputs_of(parts, question.task, [question.batch], last_only=True)
    losses = outputs.losses[-1]
    misread = torch.zeros(size, dtype=torch.bool)
    if outputs.predicted is not None and outputs.given is not None:
        misread = outputs.predicted[-1] != outputs.given
    order = sorted(range(size), key=lambda q: (not bool(misread[q]), -float(losses[q]), q))
    places = order[: options.explained]
    texts = queries.columns.get(TEXT)
    batch = picked(question.batch, places, size=size)
    columns = _share_columns(options, examples, training)
    found = QueryFindings(
        count=size,
        places=places,
        contents=Contents(
            [batch],
            lambda chosen: [picked(batch, chosen, size=len(places))],
            texts=None if texts is None else [texts[place] for place in places],
            kind=kind,
            decode=options.decode,
            features=options.feature_names,
        ),
        outputs=outputs,
        explanations=explanations(
            estimator,
            batch,
            columns,
            k=options.k,
            decode=options.decode,
            show_progress=show_progress,
        )
        if places
        else [],
    )
    if training.given is not None and outputs.given is not None:
        scores = estimator.attribute(
            **arguments_of(estimator, question.batch), show_progress=show_progress
        )
        means = scores.over_queries(outputs.given.tolist(), how="mean").over_examples(
            training.given.tolist(), how="mean"
        )
        rows, across = list(means.query_ids), list(means.ids or [])
        matrix = means.tensor().double()
        by_row = sorted(range(len(rows)), key=lambda place: rows[place])
        by_column = sorted(range(len(across)), key=lambda place: across[place])
        found.heat = matrix[by_row][:, by_column]
        found.heat_rows = [rows[place] for place in by_row]
        found.heat_columns = [across[place] for place in by_column]
    return found


def _again(data: TrainingData, places: Sequence[int]) -> Iterable[Any]:
    part = data.subset(places)
    return part.batches(part.batch_size or len(places))


def _share_columns(
    options: Options, examples: Names, training: Outputs
) -> dict[str, Sequence[Any]]:
    columns: dict[str, Sequence[Any]] = {}
    if training.given is not None:
        columns["class"] = training.given.tolist()
    source = options.source
    if source is None and "source" in examples.columns:
        source = "source"
    if source is not None:
        columns[source] = [str(one) for one in examples.column(source)]
    return columns


def _dict_rows(parts: Streamed, count: int) -> list[Any] | None:
    """The dataset's rows where they are dicts, which may hold texts that the model doesn't read."""
    data = parts.data.subset(range(count))
    source = data._source
    dataset = getattr(source, "dataset", source)
    try:
        row = dataset[0]
    except (IndexError, KeyError, TypeError):
        return None
    if not isinstance(row, dict) or not any(isinstance(value, str) for value in row.values()):
        return None
    return [dataset[place] for place in range(count)]


def _spread(count: int, size: int) -> list[int]:
    return sorted({i * (count - 1) // max(1, size - 1) for i in range(min(size, count))})
