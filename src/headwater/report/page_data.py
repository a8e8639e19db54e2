"""What was found, as the page reads it: plain values, columns by name."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import torch

from headwater.report.overview import found_curves, heat_map, histogram
from headwater.report.votes import vote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from headwater.report.contents import Fit
    from headwater.report.findings import Findings, QueryFindings
    from headwater.report.options import Options
    from headwater.report.outputs import Outputs
    from headwater.report.thumbnails import Levels
    from headwater.results.names import Names

# Groups of a share that are named one by one.
_GROUPS = 12


def page_data(
    findings: Findings, examples: Names, queries: Names, options: Options
) -> dict[str, Any]:
    """All that the page shows but its record; ready for JSON, with finite numbers only."""
    outputs = findings.outputs
    names = class_names(findings, options)
    asked = findings.queries
    shown = _shown(findings, options.k)
    fit = findings.contents.fit(shown, others=len(asked.places) if asked else 0)
    levels = findings.contents.levels
    content = findings.contents.show(shown, fit)
    return {
        "title": options.title or "headwater report",
        "kind": content.kind,
        "features": content.features,
        "classes": names,
        "count": len(findings.self_influence),
        "onPage": len(findings.order),
        "traced": len(findings.traced),
        "estimatedWrong": findings.suspects and findings.suspects.estimated_wrong,
        "notes": [findings.suspects.reason, *findings.suspects.notes] if findings.suspects else [],
        "longestText": fit.length,
        "allFeatures": findings.contents.width,
        "checkpoints": [one.name for one in outputs.checkpoints],
        "shown": {
            "place": shown,
            "id": [examples.id(place) for place in shown],
            "entry": content.entries,
            "given": _given(outputs, shown),
        },
        "table": _table(findings, examples),
        "neighbours": {
            str(place): [_pairs(one.proponents), _pairs(one.opponents[: options.k])]
            for place, one in findings.traced.items()
        },
        "queries": None if asked is None else _queries(asked, queries, names, levels, fit),
        "overview": _overview(findings, names),
    }


def class_names(findings: Findings, options: Options) -> list[str] | None:
    """The names of the classes 0, 1, ...; None where there are none."""
    mean = findings.outputs.mean
    if mean is None:
        return None
    given = [str(name) for name in options.class_names or []]
    return [given[k] if k < len(given) else str(k) for k in range(mean.shape[1])]


def _shown(findings: Findings, k: int) -> list[int]:
    """The places of all training examples that the page shows somewhere, the table's first."""
    others: dict[int, None] = dict.fromkeys(findings.order)
    for place in findings.duplicates:
        if place is not None:
            others.setdefault(place)
    for one in findings.traced.values():
        others.update(dict.fromkeys(place for place, _ in [*one.proponents, *one.opponents[:k]]))
    for each in findings.queries.explanations if findings.queries else []:
        others.update(dict.fromkeys(place for place, _ in [*each.proponents, *each.opponents]))
    return list(others)


def _table(findings: Findings, examples: Names) -> dict[str, Any]:
    outputs, order = findings.outputs, findings.order
    places = torch.tensor(order, dtype=torch.long)
    table: dict[str, Any] = {
        "scores": {name: _numbers(scores[places]) for name, scores in findings.rankings.items()},
        "twin": findings.duplicates,
        "columns": {
            name: [examples.columns[name][place] for place in order]
            for name in examples.others
            if name != "text"
        },
    }
    if outputs.mean is not None and outputs.given is not None:
        assert outputs.given_probability is not None
        assert outputs.predicted is not None
        labels = outputs.given.tolist()
        certain, model = outputs.mean[places].max(dim=1)
        votes = [
            vote(findings.traced[place], labels) if place in findings.traced else None
            for place in order
        ]
        table |= {
            "model": model.tolist(),
            "certainty": _numbers(certain),
            "confidence": _numbers(outputs.given_probability.mean(dim=0)[places]),
            "path": [_numbers(row) for row in outputs.given_probability[:, places].T],
            "agreeing": (outputs.predicted == outputs.given)[:, places].sum(dim=0).tolist(),
            "opponents": [None if one is None else one.label for one in votes],
            "share": [None if one is None else round(one.share, 3) for one in votes],
        }
    if findings.suspects is not None:
        table |= {
            "suggested": findings.suspects.suggested[places].tolist(),
            "support": _numbers(findings.suspects.support[places]),
            "disputed": findings.suspects.disputed[places].tolist(),
        }
    if outputs.answers is not None:
        table["answer"] = _numbers(outputs.answers[places])
    return table


def _queries(
    asked: QueryFindings,
    queries: Names,
    names: list[str] | None,
    levels: Levels | None,
    fit: Fit,
) -> dict[str, Any]:
    outputs = asked.outputs
    content = asked.contents.show(range(len(asked.places)), fit, levels)
    found = []
    for place, entry, one in zip(asked.places, content.entries, asked.explanations, strict=True):
        item: dict[str, Any] = {
            "place": place,
            "id": queries.id(place),
            "entry": entry,
            "loss": _number(float(outputs.losses[-1, place])),
            "given": _given(outputs, [place])[0],
            "columns": {
                name: queries.columns[name][place] for name in queries.others if name != "text"
            },
            "proponents": _pairs(one.proponents),
            "opponents": _pairs(one.opponents),
            "half": one.curve.half,
            "curve": [
                [count, round(share, 4)]
                for count, share in zip(one.curve.counts, one.curve.shares, strict=True)
            ],
            "shares": {
                column: [
                    [_group(group.group, column, names), *map(_number, astuple(group)[1:])]
                    for group in groups[:_GROUPS]
                ]
                for column, groups in one.shares.items()
            },
            "tokens": {
                str(training): [[word, _number(score)] for word, score in tokens]
                for training, tokens in one.tokens.items()
            },
        }
        if outputs.mean is not None and outputs.given is not None:
            given = int(outputs.given[place])
            item["model"] = int(outputs.mean[place].argmax())
            item["certainty"] = _number(float(outputs.mean[place].max()))
            item["confidence"] = _number(float(outputs.mean[place, given]))
        elif outputs.answers is not None:
            item["answer"] = _number(float(outputs.answers[place]))
        found.append(item)
    misread = None
    if outputs.predicted is not None and outputs.given is not None:
        misread = int((outputs.predicted[-1] != outputs.given).sum())
    return {"count": asked.count, "misread": misread, "explained": found}


def _overview(findings: Findings, names: list[str] | None) -> dict[str, Any]:
    outputs, wrong, asked = findings.outputs, findings.wrong, findings.queries
    shares = None
    if findings.terms is not None:
        terms = findings.terms.sum(dim=1)
        shares = (terms / (float(terms.sum()) or 1.0)).tolist()
    right = None
    if outputs.predicted is not None and outputs.given is not None:
        right = (outputs.predicted == outputs.given).double().mean(dim=1)
    heat = None
    if asked is not None and asked.heat is not None:
        heat = heat_map(
            asked.heat,
            [_group(one, "class", names) for one in asked.heat_rows],
            [_group(one, "class", names) for one in asked.heat_columns],
        )
    return {
        "histogram": histogram(findings.self_influence, wrong),
        "wrong": None if wrong is None else int(wrong.sum()),
        "curves": None if wrong is None else found_curves(findings.compared, wrong),
        "heat": heat,
        "measured": None if findings.terms is None else findings.terms.shape[1],
        "checkpoints": [
            {
                "name": one.name,
                "rates": list(one.rates),
                "loss": _number(float(outputs.losses[place].mean())),
                "right": None if right is None else _number(float(right[place])),
                "share": None if shares is None else _number(shares[place]),
            }
            for place, one in enumerate(outputs.checkpoints)
        ],
    }


def _given(outputs: Outputs, places: Sequence[int]) -> list[Any]:
    if outputs.given is not None:
        return [int(outputs.given[place]) for place in places]
    if outputs.values is not None:
        return [_number(float(outputs.values[place])) for place in places]
    return [None] * len(places)


def _group(value: Any, column: str, names: list[str] | None) -> str:
    is_class = column == "class" and names is not None and isinstance(value, int)
    return names[value] if is_class and names is not None else str(value)


def _pairs(pairs: Sequence[tuple[int, float]]) -> list[list[Any]]:
    return [[place, _number(score)] for place, score in pairs]


def _numbers(values: Tensor) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
