"""What a pass has done with isn't held: batches before this one, copies, what it measured on."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from headwater import TracInCP
from headwater.engine.batch_size import taken_by_an_example
from headwater.engine.weights import Weights
from headwater.tasks import LossTask

N, BATCH, RATES = 21, 3, (0.3, 0.07)


class Watching(nn.Module):
    """Notes of every batch, when it comes in, how many batches before it are still in memory."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)
        self.earlier, self.alive = {}, []

    def forward(self, x):
        memory = x.untyped_storage()
        here = memory.data_ptr()
        self.earlier = {place: ref for place, ref in self.earlier.items() if ref() is not None}
        self.alive.append(len(self.earlier.keys() - {here}))
        self.earlier[here] = weakref.ref(memory)
        return self.layer(x.tanh())


def data():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(N, 5, generator=generator)
    return TensorDataset(x, torch.randint(3, (N,), generator=generator))


def checkpoints(model):
    states = []
    for seed in range(len(RATES)):
        generator = torch.Generator().manual_seed(seed)
        states.append(
            {
                name: torch.randn(tensor.shape, generator=generator)
                for name, tensor in model.state_dict().items()
            }
        )
    return list(zip(states, RATES, strict=True))


@pytest.mark.parametrize("budget", ["auto", 3_000], ids=["resident", "checkpoints outermost"])
@pytest.mark.parametrize("loaded", [False, True], ids=["dataset", "loader"])
@pytest.mark.parametrize("query", [False, True], ids=["self-influence", "scores"])
def test_a_batch_is_gone_when_the_next_one_is_computed(budget, loaded, query):
    model = Watching()
    source = data()
    attribution = TracInCP(
        model,
        DataLoader(source, batch_size=BATCH) if loaded else source,
        checkpoints(model),
        loss_fn=lambda out, y: cross_entropy(out, y, reduction="none"),
        memory_budget=budget,
        **({} if loaded else {"batch_size": BATCH}),
    )
    attribution.influence(*(data()[:4] if query else ()))
    model.alive.clear()
    attribution.influence(*(data()[:4] if query else ()))
    assert len(model.alive) >= len(RATES) * N // BATCH
    # The queries are the one thing that stays.
    assert max(model.alive) <= query


def test_the_last_checkpoints_weights_are_those_in_the_model():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    tensors = [*model.parameters(), *model.buffers()]
    copied, kept = Weights(model), Weights(model, copied=False)
    places = {tensor.data_ptr() for tensor in tensors}
    assert places == {tensor.data_ptr() for tensor in kept._tensors.values()}
    assert places.isdisjoint({tensor.data_ptr() for tensor in copied._tensors.values()})


def test_activations_that_a_batch_is_measured_on_are_let_go():
    seen = []

    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x):
            # Both keep what they return for the backward pass.
            found = self.layer(x).sigmoid().exp()
            seen.append(weakref.ref(found.untyped_storage()))
            return found

    model = Noting()
    task = LossTask(lambda out, y: cross_entropy(out, y, reduction="none"), reduction="none")
    gc.disable()
    try:
        taken_by_an_example(task, model, data()[:4])
        assert seen
        assert all(ref() is None for ref in seen)
    finally:
        gc.enable()
