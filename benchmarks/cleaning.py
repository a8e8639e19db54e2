"""How well wrong labels are found, signal by signal and together, and what cleaning brings.

    python -m benchmarks.cleaning [--seeds 5] [--markdown docs/cleaning.md] [--json FILE]

Everything that was chosen by looking at figures was chosen on seeds from 100 on.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cleaning_data import Noisy, Sentences, digits, trained
from benchmarks.page import put, write_json
from headwater import TracInCP
from headwater.cleaning import apply, suspects_of

WORKLOADS = {
    "uniform": "Digits, 10 % flipped to any class",
    "runner-up": "Digits, 10 % flipped to the runner-up class",
    "raters": "Sentences, each labelled by one of its raters",
}
COMBINED = "**combined**"
MEASURES = ("AUROC", "average precision", "found at 10 %", "found at 20 %")


def measured(score: Tensor, wrong: Tensor) -> list[float]:
    """AUROC, average precision, and the share of the wrong found among the first 10 and 20 %."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    order = score.argsort(descending=True, stable=True)
    hits = wrong[order].double()
    found = [float(hits[: round(share * len(hits))].sum() / hits.sum()) for share in (0.1, 0.2)]
    truth, given = wrong.numpy(), score.numpy()
    return [roc_auc_score(truth, given), average_precision_score(truth, given), *found]


def run(data: Noisy, seed: int) -> dict[str, Any]:
    """One training run: every score's measures, and held-out accuracy before and after."""
    everything = torch.arange(len(data.given))
    model, checkpoints = trained(data, data.given, everything, seed)
    estimator = TracInCP(
        model, data.dataset, checkpoints, loss_fn=nn.CrossEntropyLoss(reduction="none")
    )
    suspects = suspects_of(estimator)
    losses = _losses(data, model, checkpoints)
    scores = {
        COMBINED: suspects.scores,
        **suspects.signals,
        "loss, mean over all checkpoints": losses.mean(dim=0),
        "loss, at the last": losses[-1],
    }
    if data.embeddings is not None:
        scores["frozen embeddings, confidence"] = _frozen(data.embeddings, data.given)
    result: dict[str, Any] = {
        "wrong": int(data.wrong.sum()),
        "examples": len(data.given),
        "measures": {name: measured(score, data.wrong) for name, score in scores.items()},
        "checkpoints": len(suspects.checkpoints),
    }
    decisions = suspects.suggested_decisions()
    cleaned = apply(decisions, data.dataset, labels=suspects.labels)
    now = data.given.clone()
    now[cleaned.indices] = torch.tensor(cleaned.labels)
    result["decided"] = len(decisions)
    result["decided_wrong"] = int(data.wrong[[one.index for one in decisions]].sum())
    result["wrong_after"] = int((now != data.true)[cleaned.indices].sum())
    if data.held_out is not None:
        kept = torch.tensor(cleaned.indices)
        again, _ = trained(data, now, kept, seed)
        result["accuracy"] = [_accuracy(model, data), _accuracy(again, data)]
    return result


def _losses(data: Noisy, model: nn.Module, checkpoints: list[Any]) -> Tensor:
    found = []
    with torch.no_grad():
        before = {name: value.clone() for name, value in model.state_dict().items()}
        for state, _ in checkpoints:
            model.load_state_dict(state)
            logits = model.eval()(*data.inputs)
            found.append(nn.functional.cross_entropy(logits, data.given, reduction="none"))
        model.load_state_dict(before)
    return torch.stack(found)


def _frozen(embeddings: Tensor, given: Tensor) -> Tensor:
    """1 less the probability of the given label, by a classifier that hasn't seen the example."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    found = cross_val_predict(
        LogisticRegression(max_iter=1000),
        embeddings.numpy(),
        given.numpy(),
        cv=5,
        method="predict_proba",
    )
    return 1 - torch.as_tensor(found)[torch.arange(len(given)), given]


def _accuracy(model: nn.Module, data: Noisy) -> float:
    assert data.held_out is not None
    inputs, labels = data.held_out
    with torch.no_grad():
        return float((model.eval()(*inputs).argmax(dim=1) == labels).double().mean())


def table(runs: list[dict[str, Any]]) -> str:
    """Means over the runs with their standard deviation, a row per score."""
    lines = [f"| | {' | '.join(MEASURES)} |", "| --- " * (1 + len(MEASURES)) + "|"]
    for name in runs[0]["measures"]:
        columns = zip(*(one["measures"][name] for one in runs), strict=True)
        lines.append(f"| {name} | {' | '.join(_spread(column) for column in columns)} |")
    return "\n".join(lines)


def _spread(values: Any, digits: int = 3) -> str:
    values = list(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"


def told(runs: list[dict[str, Any]]) -> str:
    """What the suggested decisions did, in a sentence or two."""

    def mean(name: str) -> float:
        return statistics.mean(one[name] for one in runs)

    text = (
        f"{len(runs)} seeds. Of {mean('examples'):.0f} labels {mean('wrong'):.1f} are wrong. "
        f"Suggested decisions: {mean('decided'):.1f}, of which {mean('decided_wrong'):.1f} about "
        f"wrong labels; "
        f"{mean('wrong_after'):.1f} wrong ones are left after them."
    )
    if "accuracy" in runs[0]:
        before, after = zip(*(one["accuracy"] for one in runs), strict=True)
        gains = [late - early for early, late in zip(before, after, strict=True)]
        text += (
            f" Held-out accuracy: {_spread(before)} as trained, {_spread(after)} trained again on "
            f"the cleaned set; gain {_spread(gains)}, in {sum(gain > 0 for gain in gains)} of "
            f"{len(gains)} runs."
        )
    return text


def page(results: dict[str, list[dict[str, Any]]]) -> str:
    """All tables, as Markdown."""
    parts = []
    for name, runs in results.items():
        parts += [f"### {WORKLOADS[name]}", table(runs), told(runs)]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", choices=list(WORKLOADS), action="append")
    parser.add_argument("--markdown", type=Path, default=Path("docs/cleaning.md"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    results: dict[str, list[dict[str, Any]]] = {}
    sentences: Sentences | None = None
    for name in given.only or WORKLOADS:
        if name == "raters" and sentences is None:
            try:
                sentences = Sentences()
            except (ImportError, FileNotFoundError) as error:
                print(f"Left out, {WORKLOADS[name]}: {error}", file=sys.stderr)
                continue
        for seed in seeds:
            begun = time.process_time()
            data = (
                digits(name, seed)
                if sentences is None or name != "raters"
                else sentences.noisy(seed)
            )
            results.setdefault(name, []).append(run(data, seed))
            spent = time.process_time() - begun
            print(f"{name}, seed {seed}: {spent:.0f} s of CPU", file=sys.stderr, flush=True)
            if given.json is not None:
                write_json(given.json, results)
    print(page(results))
    if set(results) == set(WORKLOADS):
        put(given.markdown, "cleaning", page(results))


if __name__ == "__main__":
    main()
