"""Models that take rows in another order than the batch's, in some batches alone."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import TensorDataset

from headwater import TracInCP
from headwater.capture import disorder
from headwater.capture.graph import Graph

N, T, RATES = 40, 4, (0.3, 0.07)


class Sorting(nn.Module):
    """Sorts its batch by length, and back as `back` says."""

    def __init__(self, layer, back):
        super().__init__()
        self.layer, self.back = layer, back
        self.head = nn.Linear(3, 2)

    def forward(self, x, lengths):
        order = lengths.argsort(descending=True, stable=True)
        if isinstance(self.layer, nn.Linear):
            found = self.layer(x[order, 0]).tanh()
        else:
            packed = pack_padded_sequence(
                x[order], lengths[order], batch_first=True, enforce_sorted=self.back != "index"
            )
            found = self.layer(packed)[1]
            found = (found[0] if isinstance(found, tuple) else found)[-1]
        return self.head(BACK[self.back](found, order))


BACK = {
    "index": lambda found, order: found[order.argsort()],
    "select": lambda found, order: found.index_select(0, order.argsort()),
    "gather": lambda found, order: found.gather(0, order.argsort()[:, None].expand_as(found)),
    "put": lambda found, order: torch.zeros_like(found).index_put((order,), found),
    "copy": lambda found, order: torch.zeros_like(found).index_copy(0, order, found),
    "add": lambda found, order: torch.zeros_like(found).index_add(0, order, found),
    "scatter": lambda found, order: torch.zeros_like(found).scatter(
        0, order[:, None].expand_as(found), found
    ),
    "scatter_add": lambda found, order: torch.zeros_like(found).scatter_add(
        0, order[:, None].expand_as(found), found
    ),
}


class Dropping(nn.Module):
    """A layer sees the sentences that there are, which are added up by text."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(5, 3), nn.Linear(3, 2)

    def forward(self, x, lengths):
        there = torch.arange(x.shape[1]) < lengths[:, None]
        found = self.layer(x[there]).tanh()
        whose = there.nonzero()[:, 0]
        return self.head(found.new_zeros(len(x), 3).index_add(0, whose, found))


def agrees(model, lengths, batch_size):
    """Whether self-influence and scores are a loop's over single examples."""
    model = model.double().eval()
    x = torch.randn(len(lengths), T, 5, dtype=torch.float64)
    y = torch.arange(len(lengths)) % 2
    states = [
        {name: p + 0.1 * torch.randn_like(p) for name, p in model.state_dict().items()}
        for _ in RATES
    ]
    estimator = TracInCP(
        model,
        TensorDataset(x, lengths, y),
        list(zip(states, RATES, strict=True)),
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=batch_size,
    )
    own = estimator.influence()
    scores = estimator.influence((x[:3], lengths[:3]), y[:3])
    expected = torch.zeros(len(x), len(x), dtype=torch.float64)
    for state, rate in zip(states, RATES, strict=True):
        model.load_state_dict(state)
        gradients = []
        for n in range(len(x)):
            loss = cross_entropy(model(x[n : n + 1], lengths[n : n + 1]), y[n : n + 1])
            found = torch.autograd.grad(loss, list(model.parameters()))
            gradients.append(torch.cat([each.flatten() for each in found]))
        expected += rate * torch.stack(gradients) @ torch.stack(gradients).T
    torch.testing.assert_close(own, expected.diag(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(scores, expected[:3], rtol=1e-9, atol=1e-12)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(5)


def one_that_is_short():
    lengths = torch.full((N,), T)
    # In the third batch of eight, which isn't looked at for its number.
    lengths[20] = 2
    return lengths


@pytest.mark.parametrize("back", list(BACK))
@pytest.mark.parametrize("kind", [nn.Linear, nn.GRU])
def test_a_model_that_sorts_its_batch_and_back(kind, back):
    layer = kind(5, 3) if kind is nn.Linear else kind(5, 3, batch_first=True)
    agrees(Sorting(layer, back), one_that_is_short(), 8)


@pytest.mark.parametrize("batch_size", [3, 8, "auto"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])
def test_batches_of_other_sizes(kind, batch_size):
    agrees(Sorting(kind(5, 3, batch_first=True), "index"), one_that_is_short(), batch_size)


def test_a_model_that_leaves_rows_out():
    # Of every batch of two as many rows are left as there are of two texts of two sentences.
    lengths = torch.tensor([2] * 8 + [1, 3] + [2] * 6 + [3, 1, 2, 2])
    agrees(Dropping(), lengths, 2)


def disordered(losses, size):
    return disorder.disordered(Graph(losses).nodes, size, lambda: set())


def written(order):
    found = torch.zeros(4, 3, 5)
    for place, row in enumerate(order):
        found[place] = X[row]
    return found


def orders(losses):
    return {site[3] for site, _ in disordered(losses, 4)}


# What a layer gave: a product of constants with parameters is a layer itself.
X = torch.randn(4, 3, 5, requires_grad=True) * torch.ones(5, requires_grad=True)
LAYER = nn.Linear(5, 2)
THREE_EACH = torch.arange(4).repeat_interleave(3)
ORDER = torch.tensor([0, 2, 1, 3])
LAST = torch.tensor([0, 2, 1, 1])
UNEVEN = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1], [1, 1, 0]]).bool()
KEPT = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 0]]).bool()


@pytest.mark.parametrize(
    "taken",
    [
        lambda: X[torch.arange(4)],
        lambda: X.flatten(0, 1)[torch.arange(12)],
        lambda: X.index_select(0, torch.arange(4)),
        lambda: X[:, 0] * 2,
        lambda: X[:, :2] * 2,
        lambda: torch.stack([X[place] for place in range(4)]),
        lambda: torch.stack(X.unbind(0)),
        lambda: torch.stack([X[place] for place in (-4, -3, -2, -1)]),
        lambda: torch.eye(4) @ X.flatten(1),
        lambda: X.flatten(1).T @ torch.eye(4),
        lambda: X @ torch.ones(5, 7),
        lambda: torch.ones(4, 2, 3) @ X,
        lambda: nn.Linear(8, 2)(torch.ones(4, 8)),
        lambda: torch.stack([2 * X[place].relu().mean(0) for place in range(4)]),
        lambda: torch.stack([LAYER(X[place]) for place in range(4)]),
        lambda: X[torch.zeros(4, dtype=torch.bool)].sum() + X.sum(),
        lambda: nn.functional.embedding(torch.arange(4), X.flatten(1)),
        lambda: nn.Embedding(5, 3)(ORDER),
        lambda: X.flip(1) + X.roll(1, 2) + X.repeat(1, 2, 1)[:, :3],
    ],
)
def test_rows_in_the_batchs_own_order(taken):
    assert not disordered(taken().sum(), 4)


@pytest.mark.parametrize(
    "taken",
    [
        lambda: X[torch.arange(4).repeat_interleave(2)],
        lambda: X[KEPT],
        lambda: torch.zeros(4, 5).index_add(
            0, torch.arange(4).repeat_interleave(3), X.flatten(0, 1)
        ),
        lambda: torch.eye(4).repeat_interleave(3, 1) @ X.flatten(0, 1),
        lambda: torch.stack([part.mean(0) for part in X.flatten(0, 1).split(3)]),
        lambda: torch.stack([part.mean(0) for part in X.flatten(0, 1).split([3] * 4)]),
        lambda: X.flatten(0, 1)[3:6],
        lambda: torch.segment_reduce(X.flatten(0, 1), "mean", lengths=torch.full((4,), 3)),
    ],
)
def test_rows_in_order_if_an_examples_lie_together(taken):
    # A layer may have taken them another way; which it was, a look says once.
    assert orders(taken().sum()) == {disorder._BY_EXAMPLE}


def test_rows_in_order_if_a_steps_lie_together():
    losses = (torch.eye(4).repeat(1, 3) @ X.flatten(0, 1)).sum()
    assert orders(losses) == {disorder._BY_STEP}


@pytest.mark.parametrize(
    "taken",
    [
        lambda: X[ORDER],
        lambda: X[ORDER[:, None], torch.arange(3)],
        lambda: X.flatten(0, 1)[torch.arange(12).flip(0)],
        lambda: X.transpose(0, 1)[:, ORDER],
        lambda: X[UNEVEN],
        lambda: X[torch.arange(4) > 0],
        lambda: X.sort(dim=0).values,
        lambda: X.take(ORDER),
        lambda: X.masked_select(KEPT[ORDER][..., None] & (ORDER > 0)[:, None, None]),
        lambda: torch.eye(4)[ORDER] @ X.flatten(1),
        lambda: torch.eye(4)[ORDER] @ nn.Embedding(5, 3)(ORDER),
        lambda: (torch.eye(4)[ORDER] * X[0, 0, 0]) @ X.flatten(1),
        lambda: torch.addmm(torch.zeros(15), torch.eye(4)[ORDER], X.flatten(1)),
        lambda: X.flatten(1).T @ torch.eye(4)[ORDER],
        lambda: torch.einsum("bec,bd->ecd", torch.eye(8)[[3, 0, 6, 1]].view(4, 2, 4), X.flatten(1)),
        lambda: torch.block_diag(*[torch.ones(1, n) for n in (2, 4, 3, 3)]) @ X.flatten(0, 1),
        lambda: torch.stack([part.mean(0) for part in X.flatten(0, 1).split([2, 4, 3, 3])]),
        lambda: torch.stack([X[place] for place in ORDER.tolist()]),
        lambda: torch.stack([X.unbind(0)[place] for place in ORDER.tolist()]),
        lambda: torch.cat([X[place : place + 1] for place in ORDER.tolist()]),
        lambda: X.flatten(0, 1)[2:6],
        lambda: X[torch.zeros(4, dtype=torch.bool) | (ORDER == 1)],
        lambda: torch.stack([2 * X[place].relu() for place in ORDER.tolist()]),
        lambda: torch.stack([X[place, :2].mean(0) for place in ORDER.tolist()]),
        lambda: torch.stack([part.mean(0) for part in (X[2], X[0])]),
        lambda: torch.stack([LAYER(X[place]) for place in ORDER.tolist()]),
        lambda: written([0, 2, 1, 3]),
        lambda: nn.functional.embedding(ORDER, X.flatten(1)),
        lambda: nn.functional.embedding_bag(ORDER.view(2, 2), X.flatten(1)),
        lambda: torch.sparse.mm(torch.eye(4)[ORDER].to_sparse(), X.flatten(1)),
        lambda: X.flip(0),
        lambda: X.roll(1, 0),
        lambda: X.repeat(2, 1, 1),
        lambda: torch.segment_reduce(X.flatten(0, 1), "mean", lengths=torch.tensor([2, 4, 3, 3])),
    ],
)
def test_rows_in_another_order(taken):
    assert disorder._NEITHER in orders(taken().sum())
    assert not disordered(taken().sum(), 1)


def test_axes_are_told_apart():
    # What picks a step per example may be harmless; that it was says nothing of another order.
    def axes(losses):
        return {site[2] for site, _ in disordered(losses.sum(), 4)}

    assert axes(X[torch.arange(4), LAST]) == {1}
    assert axes(X[ORDER, LAST]) == {0, 1}
    assert axes(X[:, LAST]) == {1}
