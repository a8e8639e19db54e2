"""Rows of tensors are sliced where that is what a loader does, and only there."""

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from headwater.engine import TrainingData
from headwater.engine.deal import Deal

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
