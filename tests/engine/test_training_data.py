"""Rows of tensors are sliced where that is what a loader does, and only there."""

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from headwater import TracInCP
from headwater.engine import TrainingData
from headwater.engine.deal import Deal
from headwater.tasks import Autocast, LogOdds
from headwater.tasks.loss import LossTask

DATA = TensorDataset(torch.arange(21.0).view(7, 3), torch.arange(7))


class Backwards(SequentialSampler):
    def __iter__(self):
        return iter(range(len(self.data_source) - 1, -1, -1))


def flipped(examples):
    return [torch.stack(column).flip(0) for column in zip(*examples, strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 3},
        {"batch_size": 3, "drop_last": True},
        {"batch_size": 7},
        {"batch_size": None},
        {"batch_size": 2, "sampler": Backwards(DATA)},
        {"batch_size": 2, "sampler": [4, 1, 3]},
        {"batch_sampler": BatchSampler(SequentialSampler(DATA), 3, drop_last=True)},
        {"batch_sampler": BatchSampler(SequentialSampler(range(4)), 3, drop_last=False)},
        {"batch_sampler": BatchSampler([6, 0, 2, 5], 3, drop_last=False)},
        {"batch_sampler": [[3, 1], [0]]},
        {"batch_size": 3, "collate_fn": flipped},
    ],
    ids=lambda options: ", ".join(options),
)
@pytest.mark.filterwarnings("ignore:.*drop_last")
def test_batches_are_those_of_the_loader(options):
    loader = DataLoader(DATA, **options)
    found = list(TrainingData(loader, "auto").batches(99))
    expected = list(loader)
    assert len(found) == len(expected)
    for batch, other in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))


def test_a_model_that_writes_to_its_input_does_not_write_to_the_data():
    before = DATA.tensors[0].clone()
    for inputs, _ in TrainingData(DATA, 3).batches(3):
        inputs.zero_()
    assert torch.equal(DATA.tensors[0], before)


def test_an_estimator_slices_and_fetches_no_row_of_its_own(monkeypatch):
    fetched = []
    whole = TensorDataset.__getitem__
    monkeypatch.setattr(
        TensorDataset, "__getitem__", lambda data, i: fetched.append(i) or whole(data, i)
    )
    model = nn.Linear(3, 7)
    options = {"loss_fn": nn.CrossEntropyLoss(reduction="none")}
    inputs = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(inputs, torch.arange(600) % 7)
    found = TracInCP(model, data, [(model.state_dict(), 0.3)], **options).influence()
    assert len(found) == 600
    # The first few, on which the size of a batch is measured, and two that are looked at alone.
    assert len(fetched) < 20
    stacking = [tuple(data[i] for i in range(2))]
    seen = TracInCP(
        model,
        data,
        [(model.state_dict(), 0.3)],
        collate_fn=lambda rows: stacking.append(rows) or flipped(rows),
        batch_size=300,
        **options,
    ).influence()
    assert sum(len(rows) for rows in stacking) > 600
    torch.testing.assert_close(seen.view(2, 300).flip(1).flatten(), found)


def test_wrapped_tasks_stack_as_what_they_wrap():
    class Sorting(LossTask):
        def collate(self, model, examples, collate_fn):
            return super().collate(model, sorted(examples, key=len), collate_fn)

    plain = LossTask(nn.CrossEntropyLoss(reduction="none"), reduction="none")
    sorting = Sorting(nn.CrossEntropyLoss(reduction="none"), reduction="none")
    assert plain.stacks_rows()
    assert not sorting.stacks_rows()
    assert Autocast(plain).stacks_rows()
    assert not Autocast(sorting).stacks_rows()
    assert not LogOdds(sorting).stacks_rows()


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 2},
        {"batch_size": 2, "drop_last": True},
        {"batch_size": 2, "collate_fn": flipped},
        {"batch_sampler": [[3, 1], [0], [2, 4, 5], [6], [1, 2]]},
    ],
    ids=lambda options: ", ".join(options),
)
@pytest.mark.parametrize(("ranks", "run", "first"), [(1, 1, 2), (2, 1, 0), (2, 2, 1), (3, 2, 0)])
@pytest.mark.filterwarnings("ignore:.*drop_last")
def test_ranks_are_dealt_every_batch_once_with_its_place(options, ranks, run, first):
    loader = DataLoader(DATA, **options)
    data = TrainingData(loader, "auto")
    batches = list(loader)
    starts = [sum(len(batch[1]) for batch in batches[:number]) for number in range(len(batches))]
    for rank in range(ranks):
        runs = [range(start, start + run) for start in range(first, len(batches), run)]
        own = [number for one in runs[rank::ranks] for number in one if number < len(batches)]
        found = list(data.dealt(99, Deal(rank, ranks, run, first)))
        assert [start for start, _ in found] == [starts[number] for number in own]
        for (_, batch), number in zip(found, own, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch, batches[number], strict=True))
