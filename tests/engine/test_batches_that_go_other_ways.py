"""Models that go another way with batches that no look falls on by its number."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from headwater.capture import Capture
from tests.engine.own_loop import agrees, rows, stacked

# Of batches the first, the second, the fourth and the eighth are looked at by their numbers.
KINDS = [0, 0, 1, 0, 1, 1, 1, 0, 1]


def texts(lengths):
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randint(1, 9, (n,), generator=generator), torch.randint(3, (), generator=generator))
        for n in lengths
    ]


def padded(examples):
    ids, targets = zip(*examples, strict=True)
    return pad_sequence(list(ids), batch_first=True), torch.stack(targets)


def means(hidden, lengths):
    return [hidden[place, :length].mean(0) for place, length in enumerate(lengths)]


def by_list(hidden, lengths, order):
    found = [None] * len(order)
    for row, place in zip(means(hidden, lengths), order, strict=True):
        found[place] = row
    return torch.stack(found)


def by_writing(hidden, lengths, order):
    found = hidden.new_zeros(len(order), hidden.shape[2])
    for row, place in zip(means(hidden, lengths), order, strict=True):
        found[place] = row
    return found


def by_table(hidden, lengths, order):
    back = torch.tensor(order).argsort()
    return nn.functional.embedding(back, torch.stack(means(hidden, lengths)))


def by_sparse_matrix(hidden, lengths, order):
    places = torch.tensor(order)
    matrix = torch.eye(len(order), dtype=hidden.dtype)[places.argsort()].to_sparse()
    return torch.sparse.mm(matrix, torch.stack(means(hidden, lengths)))


class SortedWithoutPacking(nn.Module):
    def __init__(self, back):
        super().__init__()
        self.back = back
        self.table = nn.Embedding(9, 4)
        self.states = nn.LSTM(4, 3, batch_first=True)
        self.out = nn.Linear(3, 3)

    def forward(self, ids):
        lengths = (ids > 0).sum(1)
        order = lengths.argsort(descending=True, stable=True)
        hidden, _ = self.states(self.table(ids[order]))
        return self.out(self.back(hidden, lengths[order].tolist(), order.tolist()))


MIXED = [3, 6, 2, 5]


@pytest.mark.parametrize("back", [by_list, by_writing, by_table, by_sparse_matrix])
@pytest.mark.parametrize("first", [[4, 4, 4, 4], [6, 5, 3, 2]])
def test_texts_that_are_sorted_and_put_back(back, first):
    lengths = first * 2 + MIXED + first + MIXED * 3
    torch.manual_seed(0)
    agrees(SortedWithoutPacking(back), texts(lengths), padded, 4)


class Documents(nn.Module):
    """Takes documents in one list of tokens, and adds up what the next tokens cost."""

    def __init__(self):
        super().__init__()
        self.table, self.layer, self.out = nn.Embedding(9, 5), nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, ids):
        lengths = (ids > 0).sum(1).tolist()
        flat = torch.cat([row[:length] for row, length in zip(ids, lengths, strict=True)])
        hidden, start, found = self.layer(self.table(flat)).tanh(), 0, []
        for length in lengths:
            found.append(hidden[start : start + length - 1].sum(0))
            start += length
        return self.out(torch.stack(found))


def test_documents_whose_mean_length_is_always_the_same():
    torch.manual_seed(0)
    agrees(Documents(), texts([4] * 8 + MIXED * 5), padded, 4)


class OfTwoTasks(nn.Module):
    """A head of its own for each of two tasks, of which a batch has one."""

    def __init__(self, second):
        super().__init__()
        self.first, self.out = nn.Linear(4, 4), nn.Linear(4, 3)
        self.second = second

    def forward(self, x, kind):
        hidden = self.first(x).tanh()
        if kind[0]:
            hidden = self.second(hidden.transpose(0, 1)).transpose(0, 1)
        return self.out(hidden.mean(1))


@pytest.mark.parametrize("steps", [4, 8])
@pytest.mark.parametrize(
    "second",
    [
        lambda: nn.Linear(4, 4),
        lambda: nn.TransformerEncoderLayer(4, 2, dim_feedforward=5, dropout=0.0),
    ],
)
def test_a_layer_that_is_first_called_in_a_later_batch(steps, second):
    generator = torch.Generator().manual_seed(2)
    data = [
        (
            torch.randn(steps, 4, generator=generator, dtype=torch.float64),
            torch.tensor(kind),
            torch.randint(3, (), generator=generator),
        )
        for kind in KINDS
        for _ in range(4)
    ]
    torch.manual_seed(0)
    agrees(OfTwoTasks(second()), data, stacked, 4)


class Experts(nn.Module):
    """Experts that get their rows by mask: in early batches all the same one."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.out = nn.Linear(4, 3)

    def forward(self, x, kind):
        found = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            chosen = kind == number
            found[chosen] = expert(x[chosen]).tanh()
        return self.out(found)


def test_experts_that_get_nothing_in_early_batches():
    kinds = [0] * 4 + [1] * 4 + [0, 1, 1, 0] * 4
    data = [
        (x, torch.tensor(kind), y)
        for kind, (x, y) in zip(kinds, rows(24, torch.Generator().manual_seed(5)), strict=True)
    ]
    torch.manual_seed(0)
    agrees(Experts(), data, stacked, 4)


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Linear(2, 4), nn.Linear(4, 3)

    def forward(self, x):
        left, right = self.first(torch.cat(x.chunk(2, 1))).tanh().chunk(2)
        return self.out((left - right).abs())


def test_what_was_right_once_is_not_looked_at_again(monkeypatch):
    looks = []
    check = Capture.check

    def counted(self, *args, **options):
        looks.append(1)
        return check(self, *args, **options)

    monkeypatch.setattr(Capture, "check", counted)
    torch.manual_seed(0)
    agrees(Siamese(), rows(80, torch.Generator().manual_seed(6)), stacked, 4)
    # Twenty batches at two checkpoints, for each of three questions.
    assert len(looks) <= 40
