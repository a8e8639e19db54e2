"""Models that move rows by matrices, runs and joins, or go another way with some batches."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.functional import linear, one_hot
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import TensorDataset

from headwater import Task, TracInCP
from headwater.errors import BatchError, LossError, ModelError
from tests.engine.own_loop import agrees, by_loop, checkpoints, loss_fn, rows, stacked


class Switch(nn.Module):
    """Experts whose rows are put into their slots by a matrix of zeros and ones."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(4, 2)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        shares = self.gate(x).softmax(-1)
        chosen = one_hot(shares.argmax(-1), 2).to(x.dtype)
        slot = ((chosen.cumsum(0) - 1) * chosen).sum(1).long()
        dispatch = chosen[:, :, None] * one_hot(slot, len(x)).to(x.dtype)[:, None]
        taken = torch.einsum("bec,bd->ecd", dispatch, x)
        found = torch.stack([expert(y) for expert, y in zip(self.experts, taken, strict=True)])
        back = torch.einsum("bec,ecd->bd", dispatch, found)
        return self.out(x + shares.amax(-1, keepdim=True) * back)


@pytest.mark.parametrize("batch_size", [3, 4, 8])
@pytest.mark.parametrize("seed", [1, 5, 7, 9])
def test_experts_by_a_matrix(batch_size, seed):
    torch.manual_seed(seed)
    agrees(Switch(), rows(33, torch.Generator().manual_seed(seed)), stacked, batch_size)


class Flat(nn.Module):
    """Takes the tokens of all texts in one list, and averages them by text."""

    def __init__(self, pool):
        super().__init__()
        self.pool = pool
        self.table, self.layer, self.out = nn.Embedding(9, 5), nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, ids):
        kept = ids > 0
        hidden = self.layer(self.table(ids[kept])).tanh()
        return self.out(self.pool(hidden, kept.sum(1)))


def by_slices(hidden, lengths):
    ends = lengths.cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    return torch.stack([hidden[a:b].mean(0) for a, b in zip(starts, ends, strict=True)])


def by_matrix(hidden, lengths):
    owner = torch.arange(len(lengths)).repeat_interleave(lengths)
    return one_hot(owner, len(lengths)).to(hidden.dtype).T @ hidden / lengths[:, None]


def by_differences(hidden, lengths):
    ends = lengths.cumsum(0)
    sums = torch.cat([hidden.new_zeros(1, 6), hidden.cumsum(0)])
    return (sums[ends] - sums[ends - lengths]) / lengths[:, None]


POOLS = {
    "split": lambda h, n: torch.stack([part.mean(0) for part in h.split(n.tolist())]),
    "slices": by_slices,
    "matrix": by_matrix,
    "differences": by_differences,
    "segments": lambda h, n: torch.segment_reduce(h, "mean", lengths=n),
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("batch_size", "lengths"),
    [
        (4, [4] * 10 + [6] * 14),
        (3, [3] * 3 + [4] * 3 + [2, 3, 4] + [3] * 3 + [5, 3, 1] + [2, 4, 6]),
        (4, [5] * 8 + [4, 6, 5, 5] + [5] * 4 + [4, 5, 5, 6] * 2),
    ],
)
def test_tokens_of_all_texts_in_one_list(pool, batch_size, lengths):
    generator = torch.Generator().manual_seed(3)
    data = [
        (torch.randint(1, 9, (n,), generator=generator), torch.randint(3, (), generator=generator))
        for n in lengths
    ]

    def collate(examples):
        ids, targets = zip(*examples, strict=True)
        return pad_sequence(list(ids), batch_first=True), torch.stack(targets)

    torch.manual_seed(0)
    agrees(Flat(POOLS[pool]), data, collate, batch_size)


class OnceMore(nn.Module):
    """Uses a layer's weight by itself, too, in batches where an example asks for that."""

    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x, asks):
        hidden = self.layer(x).tanh()
        if asks.any():
            hidden = hidden + asks[:, None] * linear(hidden, self.layer.weight)
        return self.out(hidden)


def test_a_weight_that_is_used_once_more_in_one_batch():
    data = [
        (x, torch.tensor(float(place in (9, 10)), dtype=torch.float64), y)
        for place, (x, y) in enumerate(rows(24, torch.Generator().manual_seed(2)))
    ]
    torch.manual_seed(0)
    agrees(OnceMore(), data, stacked, 4)


class Labelled(nn.Module):
    """Looks at descriptions that all examples have in common."""

    def __init__(self, *, bare):
        super().__init__()
        self.layer, self.keys, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.rand(4)) if bare else None

    def forward(self, x, common):
        scaled = x if self.scale is None else x * self.scale
        shares = (self.layer(scaled) @ self.keys(common).T).softmax(-1)
        return self.out(x + shares @ common)


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("count", [13, 20, 21, 29])
def test_rows_in_common_that_are_as_many_as_the_last_batch_has_examples(count, bare):
    generator = torch.Generator().manual_seed(4)
    common = torch.randn(5, 4, generator=generator, dtype=torch.float64)

    def collate(examples):
        x, y = stacked(examples)
        return x, common, y

    torch.manual_seed(0)
    agrees(Labelled(bare=bare), rows(count, generator), collate, 8)


class StepsFirst(Task):
    """Of batches whose first tensor has steps before examples, without saying so."""

    def losses(self, model, batch):
        return loss_fn(model(batch["x"].mean(0)), batch["y"])


class Said(StepsFirst):
    def size(self, batch):
        return len(batch["y"])

    def examples(self, batch, start, stop, *, size):
        return {"x": batch["x"][:, start:stop], "y": batch["y"][start:stop]}


def steps_first(examples):
    return {
        "x": torch.stack([x for x, _ in examples], 1),
        "y": torch.stack([y for _, y in examples]),
    }


def texts(count):
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(count, 5, 4, generator=generator, dtype=torch.float64)
    return list(zip(x, torch.randint(3, (count,), generator=generator), strict=True))


@pytest.mark.parametrize("batch_size", [4, 5, 8])
def test_a_task_that_says_another_size_than_it_has_losses(batch_size):
    torch.manual_seed(0)
    model, data = nn.Linear(4, 3).double(), texts(21)
    states = checkpoints(model)
    options = {"batch_size": batch_size, "collate_fn": steps_first}
    with pytest.raises(LossError, match="its size says 5 examples"):
        TracInCP(model, data, states, task=StepsFirst(), **options).influence()
    with pytest.raises(LossError, match="its size says 5 examples"):
        TracInCP(model, data, states, task=StepsFirst(), **options).influence(steps_first(data[:3]))
    expected = by_loop(
        model, states, lambda net, b: Said().losses(net, b), [steps_first([e]) for e in data]
    )
    attribution = TracInCP(model, data, states, task=Said(), **options)
    torch.testing.assert_close(attribution.influence(), expected.diagonal())
    torch.testing.assert_close(attribution.influence(steps_first(data[:5])), expected[:5])


@dataclass
class Pair:
    x: torch.Tensor
    y: torch.Tensor


class OfPairs(Task):
    def losses(self, model, batch):
        return loss_fn(model(batch.x), batch.y)


def test_queries_of_ones_own_kind_without_a_size():
    torch.manual_seed(0)
    model, data = nn.Linear(4, 3).double(), rows(9, torch.Generator().manual_seed(8))
    attribution = TracInCP(
        model,
        data,
        checkpoints(model),
        task=OfPairs(),
        batch_size=3,
        collate_fn=lambda examples: Pair(*stacked(examples)),
    )
    assert attribution.influence().shape == (9,)
    with pytest.raises(BatchError, match="OfPairs doesn't say how many queries"):
        attribution.influence(Pair(*stacked(data[:2])))


@pytest.mark.parametrize("first", [nn.ReLU(inplace=True), nn.LeakyReLU(0.3, inplace=True)])
def test_a_model_that_writes_to_its_input_leaves_queries_alone(first):
    torch.manual_seed(0)
    model = nn.Sequential(first, nn.Linear(4, 3)).double()
    x, y = stacked(rows(9, torch.Generator().manual_seed(8)))
    queries, before = x[:4].clone(), x[:4].clone()
    attribution = TracInCP(
        model, TensorDataset(x, y), checkpoints(model), loss_fn=loss_fn, batch_size=3
    )
    if isinstance(first, nn.ReLU):
        attribution.influence(queries, y[:4])
    else:
        with pytest.raises(ModelError, match="writes to its input in place"):
            attribution.influence(queries, y[:4])
    assert torch.equal(queries, before)
