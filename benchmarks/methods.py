"""The results page: every method, judged by retraining, in settings with real data.

    python -m benchmarks.methods
    python -m benchmarks.methods --setting digits-logistic --methods tracin,random --subsets 30

Trained models are kept in banks and used again by the next call. `--json` keeps what earlier calls
found for other settings and methods; the page is made of all of it.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks import machine, page
from benchmarks.memory import peak_bytes
from benchmarks.results_page import AS_IT_COMES, tables
from benchmarks.settings import SETTINGS, Setting, Split, split
from benchmarks.time_limit import TookTooLong, limited, within
from headwater import BM25
from headwater.errors import HeadwaterError
from headwater.evaluation import (
    METHODS,
    ConvexRetraining,
    Method,
    Removals,
    RetrainedBank,
    Subsets,
    TrainedRun,
    agreement_of_seeds,
    best_on_tuning_bank,
    judge_by_detection,
    leave_one_out,
    linear_datamodeling_score,
    methods_named,
    reference_run,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_MEASURES = ("auroc", "average_precision", "found_at_10", "found_at_20")
_TUNING_SUBSETS = 30
_LEFT_OUT = 200
_BM25 = "bm25"


def main(arguments: list[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    torch.set_num_threads(asked.threads)
    results = page.load(asked.json)
    for name in asked.setting or SETTINGS:
        setting = SETTINGS[name]
        if asked.training is not None:
            setting = replace(setting, training=asked.training)
        if asked.queries is not None:
            setting = replace(setting, queries=asked.queries)
        if asked.epochs is not None:
            setting = replace(setting, recipe=replace(setting.recipe, epochs=asked.epochs))
        _say(f"{name}: {setting.says}")
        found = judged(setting, _methods_for(setting, asked.methods), asked)
        results[name] = merged(results.get(name), found, labels_alone=asked.labels_alone)
        results = {known: results[known] for known in SETTINGS if known in results}
        if asked.json is not None:
            page.write_json(asked.json, results)
        if asked.markdown is not None:
            page.put(asked.markdown, "results", tables(results))
    if asked.markdown is None:
        print(tables(results))


def _methods_for(setting: Setting, names: str | None) -> dict[str, Method]:
    """The methods of these names, of all, that can be judged in a setting."""
    own = {} if setting.texts is None else {_BM25: _bm25(setting, setting.texts)}
    if names is None:
        return {**METHODS, **own}
    chosen = names.split(",")
    if _BM25 in chosen and not own:
        _say(f"  {_BM25}: there are no texts in this setting")
    return {
        **methods_named(name for name in chosen if name != _BM25),
        **{name: method for name, method in own.items() if name in chosen},
    }


def _bm25(setting: Setting, texts: Callable[[Tensor], list[str]]) -> Method:
    """Words in common, of the setting's texts; a run knows them as ids alone."""

    def make(_: TrainedRun) -> Any:
        return _ByWords(BM25(texts(split(setting).training[0])), texts)

    return Method("BM25", make, has_self_influence=False, has_checkpoints=False)


@dataclass(frozen=True)
class _ByWords:
    estimator: BM25
    texts: Callable[[Tensor], list[str]]

    def influence(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Scores (Q, N) of queries as a model takes them."""
        scores = self.estimator.influence(self.texts(inputs))
        assert isinstance(scores, Tensor)
        return scores


def judged(setting: Setting, methods: dict[str, Method], asked: Any) -> dict[str, Any]:
    """All that is measured of a setting."""
    parts = split(setting)
    retraining = setting.retraining(parts.training)
    _say(f"  {retraining.at_once} models at once")
    subsets = Subsets(asked.subsets, runs=asked.runs, seed=asked.seed)
    folder = asked.banks / _folder(setting, subsets)
    begun = time.perf_counter()
    bank = RetrainedBank.build(
        folder / "report", retraining, subsets, parts.queries, show_progress=True
    )
    seconds = time.perf_counter() - begun
    per_run = _seconds_of_one(setting, parts)
    _say(f"  bank of {subsets.count * subsets.runs} models: {seconds:.0f} s")
    rows: dict[str, dict[str, Any]] = {}
    with reference_run(
        retraining,
        seed=asked.seed,
        checkpoints=asked.checkpoints,
        others=asked.others,
        likelihood=setting.likelihood,
    ) as run:
        left_out = _left_out(setting, parts) if setting.linear else None
        for name, method in methods.items():
            if method.has_scores and not asked.labels_alone:
                rows[name] = {"title": method.title_of(run)}
                try:
                    chosen, how = (
                        _one_way(method, asked.way)
                        if asked.way
                        else _tuned(method, run, retraining, folder, parts, asked)
                    )
                    rows[name].update(how)
                    with within(asked.limit):
                        rows[name].update(_by_scores(chosen, run, bank, parts, left_out))
                except TookTooLong as error:
                    rows[name]["failure"] = str(error)
                _say(f"  {rows[name]['title']}: {rows[name]}")
    if setting.labels and asked.seeds:
        for name, found in _by_detection(setting, methods, parts, asked).items():
            before = rows.get(name, {})
            title = before.get("title", found["title"])
            rows[name] = {**before, **found, "title": title}
    return {
        "header": machine.header(asked.threads),
        "setting": {
            "says": setting.says,
            "training": setting.training,
            "queries": setting.queries,
            "subsets": subsets.facts(),
            "recipe": setting.recipe.facts(),
            "checkpoints": asked.checkpoints,
            "parameters": sum(p.numel() for p in retraining.template.parameters()),
            "at once": retraining.at_once,
            "seconds of a model alone": per_run,
            "agreement of seeds": agreement_of_seeds(bank.measured()),
            "seeds": asked.seeds,
        },
        "methods": rows,
    }


def _tuned(
    method: Method, run: TrainedRun, retraining: Any, folder: Path, parts: Split, asked: Any
) -> tuple[Method, dict[str, Any]]:
    """The method in the setting that is best on other subsets, seeds and queries."""
    if not method.settings:
        return method, {}
    subsets = Subsets(_TUNING_SUBSETS, runs=1, seed=asked.seed, purpose="tuning")
    bank = RetrainedBank.build(folder / "tuning", retraining, subsets, parts.tuning)
    ways = {AS_IT_COMES: method.make, **method.settings}
    inputs, targets = parts.tuning
    candidates = {}
    too_long: TookTooLong | None = None
    for label, make in ways.items():
        try:
            with within(asked.limit):
                candidates[label] = make(run).influence(inputs, targets)
        except (HeadwaterError, TookTooLong) as error:  # noqa: PERF203 - others are candidates
            _say(f"  {method.title}, {label}: {error}")
            if isinstance(error, TookTooLong):
                too_long = error
    if not candidates:
        # What was refused says why by itself when it is asked for the queries' scores.
        if too_long is not None:
            raise too_long
        return method, {}
    best, every = best_on_tuning_bank(candidates, bank)
    return replace(method, make=ways[best]), {"chosen": best, "tuning": every}


def _one_way(method: Method, way: str) -> tuple[Method, dict[str, Any]]:
    """The method in one of its settings, which is said to be untuned, if it has several."""
    if not method.settings:
        return method, {}
    if way == AS_IT_COMES:
        return method, {"chosen": "not tuned"}
    return replace(method, make=method.settings[way]), {"chosen": f"{way}, not tuned"}


def _by_scores(
    method: Method, run: TrainedRun, bank: RetrainedBank, parts: Split, left_out: Removals | None
) -> dict[str, Any]:
    """LDS, agreement with leave-one-out, time and memory; or what went wrong."""
    kept: list[Any] = []
    seconds = math.nan

    def answer() -> None:
        nonlocal seconds
        begun = time.perf_counter()
        kept.append(method.make(run).influence(*parts.queries))
        seconds = time.perf_counter() - begun

    try:
        peak = peak_bytes(answer)
    except HeadwaterError as error:
        return {"failure": str(error)}
    scores = kept[0]
    lds = linear_datamodeling_score(scores, bank)
    found = {
        "lds": [lds.value, lds.low, lds.high],
        "ceiling": lds.ceiling,
        "seconds": seconds,
        "peak_bytes": peak,
    }
    if "margin" in bank.quantities:
        margin = linear_datamodeling_score(scores, bank, quantity="margin")
        found["lds_margin"] = [margin.value, margin.low, margin.high]
        found["ceiling_margin"] = margin.ceiling
    if left_out is not None:
        columns = torch.as_tensor(scores)
        agreement = left_out.agreement(columns)
        found["leave_one_out"] = agreement.pearson
    gc.collect()
    return found


def _left_out(setting: Setting, parts: Split) -> Removals:
    """Exact leave-one-out of the linear model that minimises what the recipe minimises."""
    inputs, targets = parts.training
    convex = ConvexRetraining(
        lambda: setting.build().double(),
        (inputs.double(), targets),
        l2=float(setting.recipe.settings["weight_decay"]),
        loss_fn=setting.loss_fn,
    )
    queries = (parts.queries[0].double(), parts.queries[1])
    return leave_one_out(convex, queries, examples=range(min(_LEFT_OUT, setting.training)))


def _by_detection(
    setting: Setting, methods: dict[str, Method], parts: Split, asked: Any
) -> dict[str, dict[str, Any]]:
    """How well each method finds 10 % of labels that were made wrong."""
    rows: dict[str, dict[str, Any]] = {}
    for kind in ("uniform", "runner-up"):
        found = judge_by_detection(
            {name: limited(method, asked.limit) for name, method in methods.items()},
            partial(setting.retraining, at_once=1),
            parts.training,
            kind=kind,  # type: ignore[arg-type]
            seeds=range(asked.seeds),
            checkpoints=asked.checkpoints,
            likelihood=setting.likelihood,
        )
        for name, one in found.items():
            row = rows.setdefault(name, {"title": one.title, "title of wrong labels": one.title})
            if one.failure:
                row["failure"] = one.failure
            if one.runs:
                means = {measure: one.mean(measure) for measure in _MEASURES}
                row[kind] = {m: [i.value, i.low, i.high] for m, i in means.items()}
        _say(f"  wrong labels, {kind}: { ({name: row.get(kind) for name, row in rows.items()}) }")
    return rows


def _seconds_of_one(setting: Setting, parts: Split) -> float:
    """How long one model takes by itself, on half of the data."""
    retraining = setting.retraining(parts.training, at_once=1)
    run = Subsets(3, runs=1).plan(setting.training)[0]
    begun = time.perf_counter()
    retraining.train(run)
    return time.perf_counter() - begun


def _folder(setting: Setting, subsets: Subsets) -> str:
    return f"{setting.name}-{setting.training}-{subsets.count}x{subsets.runs}-{subsets.seed}"


def merged(
    before: dict[str, Any] | None, found: dict[str, Any], *, labels_alone: bool = False
) -> dict[str, Any]:
    """Found, and of other methods what was found before in the same setting.

    With `labels_alone` what was found before of the same methods' scores stays as well.
    """
    if before is None or any(
        before["setting"].get(key) != found["setting"][key]
        for key in ("training", "queries", "subsets", "recipe", "checkpoints", "seeds")
    ):
        return found
    rows = dict(before["methods"])
    for name, row in found["methods"].items():
        known = dict(rows.get(name, {})) if labels_alone else {}
        if "lds" in known:
            # It was of self-influence, which was asked for anew.
            known.pop("failure", None)
        rows[name] = {**known, **row, "title": known.get("title", row["title"])}
    return {**found, "methods": rows}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.methods",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--setting", action="append", choices=list(SETTINGS))
    parser.add_argument("--methods", help=f"some of {','.join(METHODS)},{_BM25}; without, all")
    parser.add_argument("--subsets", type=int, default=100)
    parser.add_argument("--runs", type=int, default=2, help="models per subset")
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--others", type=int, default=4, help="runs beside the first")
    parser.add_argument("--seeds", type=int, default=5, help="runs with wrong labels; 0 for none")
    parser.add_argument("--labels-alone", action="store_true", help="judge by wrong labels alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--limit",
        type=float,
        default=900.0,
        help="seconds for a method's scores, and for its self-influence in a run with wrong "
        "labels; one that takes longer is listed without figures",
    )
    parser.add_argument(
        "--way",
        help=f"take methods in this setting, or {AS_IT_COMES!r}, where trying all would take long",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--training", type=int, help="fewer training examples, to try it out")
    parser.add_argument("--queries", type=int, help="fewer queries, to try it out")
    parser.add_argument("--epochs", type=int, help="other epochs, to try it out")
    parser.add_argument("--banks", type=Path, default=Path("bench-output/banks"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser


if __name__ == "__main__":
    main()
