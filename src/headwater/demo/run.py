"""The demo from beginning to end."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import Tensor, nn

from headwater import TracInCP
from headwater.demo.attribution_file import attribution_file
from headwater.demo.data import N_CLASSES, NoisyDigits, noisy_digits
from headwater.demo.explain import choose_queries, explain, predicted_labels
from headwater.demo.files import write_explanations, write_self_influence
from headwater.demo.model import small_cnn
from headwater.demo.page import render
from headwater.demo.ranking import by_score, in_random_order, training_losses
from headwater.demo.results import Results
from headwater.demo.settings import Settings
from headwater.demo.threads import one_thread
from headwater.demo.training import load_checkpoint, train
from headwater.files import replacing


def run(settings: Settings, out: Path) -> Results:
    """Train, attribute, write the files into `out`, and return what was found.

    Raises:
        MissingDependencyError: scikit-learn isn't installed.
    """
    data = noisy_digits(settings)
    model = small_cnn(settings.training_seed)
    with one_thread():
        checkpoints = train(model, data, settings, out / "checkpoints")
        results = attribute(model, data, checkpoints, settings)
    write_self_influence(out / "self_influence.csv", results)
    write_explanations(out / "explanations.csv", results)
    with replacing(out / "attribution.py") as temporary:
        temporary.write_text(attribution_file(settings), encoding="utf-8")
    with replacing(out / "report.html") as temporary:
        temporary.write_text(render(results), encoding="utf-8")
    return results


def attribute(
    model: nn.Module, data: NoisyDigits, checkpoints: list[Path], settings: Settings
) -> Results:
    """Return the findings on a model that has been trained; it ends with the last checkpoint."""
    tracin = TracInCP(
        model, data.train_set, checkpoints, loss_fn=nn.CrossEntropyLoss(reduction="none")
    )
    progress = sys.stderr.isatty()
    self_influence = tracin.influence(show_progress=progress)
    assert isinstance(self_influence, Tensor)

    rates = [load_checkpoint(checkpoint, model) for checkpoint in checkpoints]
    losses = training_losses(model, data, checkpoints)
    queries = choose_queries(model, data, settings.explained)
    return Results(
        settings=settings,
        data=data,
        class_names=[str(digit) for digit in range(N_CLASSES)],
        rates=rates,
        n_misclassified=int((predicted_labels(model, data) != data.test_labels).sum()),
        self_influence=self_influence,
        mean_loss=losses.mean(dim=0),
        detections=[
            by_score("self-influence (TracInCP)", self_influence, data.flipped),
            by_score("training loss, mean of checkpoints", losses.mean(dim=0), data.flipped),
            by_score("training loss, last checkpoint", losses[-1], data.flipped),
            in_random_order(data.flipped),
        ],
        explanations=explain(tracin, model, data, queries, k=settings.k, show_progress=progress),
    )
