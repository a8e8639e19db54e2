"""Batches that aren't rows of equal length: padded, end to end, or texts."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from headwater.compat import captum as ours

from .nets import CLASSES, RATES, assert_close, load, net

captum = pytest.importorskip("captum.influence")

TEXTS = ["a b c", "b", "d a", "c c d e", "e", "a e b d c", "b b", "d c", "e a a"]
LABELS = [0, 1, 2, 1, 0, 2, 2, 1, 0]
PAD, VOCABULARY = 0, {word: i for i, word in enumerate("abcde", start=1)}


def ids(text):
    return torch.tensor([VOCABULARY[word] for word in text.split()])


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 4, padding_idx=PAD)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, tokens):
        return self.head(torch.tanh(self.embedding(tokens)).sum(dim=1))

    @staticmethod
    def collate(examples):
        texts, labels = zip(*examples, strict=True)
        tokens = nn.utils.rnn.pad_sequence([ids(t) for t in texts], batch_first=True)
        return tokens, torch.tensor(labels)


class EndToEnd(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(6, 4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, tokens, offsets):
        return self.head(self.embedding(tokens, offsets))

    @staticmethod
    def collate(examples):
        texts, labels = zip(*examples, strict=True)
        tokens = [ids(text) for text in texts]
        offsets = torch.tensor([0, *map(len, tokens[:-1])]).cumsum(0)
        return torch.cat(tokens), offsets, torch.tensor(labels)


class Texts(Padded):
    """The model reads the texts itself."""

    def forward(self, texts):
        return super().forward(Padded.collate([(text, 0) for text in texts])[0])

    @staticmethod
    def collate(examples):
        texts, labels = zip(*examples, strict=True)
        return list(texts), torch.tensor(labels)


def make(library, kind, size):
    examples = list(zip(TEXTS, LABELS, strict=True))
    tracin = library.TracInCP(
        net(kind),
        DataLoader(examples, batch_size=size, collate_fn=kind.collate),
        [(net(kind, 1 + i).state_dict(), rate) for i, rate in enumerate(RATES)],
        load,
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
    )
    return tracin, examples


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", [Padded, EndToEnd, Texts])
def test_every_answer_is_captums(kind, size):
    answers = []
    for library in (captum, ours):
        tracin, examples = make(library, kind, size)
        queries = DataLoader(examples[:5], batch_size=2, collate_fn=kind.collate)
        answers.append(
            [
                tracin.influence(queries),
                tracin.influence(queries, aggregate=True),
                tracin.influence(kind.collate(examples[:5])),
                tracin.influence(queries, k=3).influence_scores,
                tracin.self_influence(),
                tracin.self_influence(queries),
            ]
        )
    for theirs, mine in zip(*answers, strict=True):
        assert_close(mine, theirs)
