"""What a memory budget may be called, and the batch size that fits it."""

import pytest
import torch
from torch import nn

from headwater import InputError
from headwater.capture import Capture
from headwater.engine import available, memory_budget_bytes
from headwater.engine.batch_size import CACHE_BYTES, LARGEST, taken_by_an_example
from headwater.tasks import Autocast, LossTask
from tests.estimators.small import cross_entropy, make


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (1, 1),
        (12345, 12345),
        ("500", 500),
        ("2KB", 2048),
        ("2 GiB", 2**31),
        ("1.5g", 3 * 2**29),
        ("3mb", 3 * 2**20),
    ],
)
def test_a_budget_is_a_number_of_bytes_or_a_text(budget, expected):
    assert memory_budget_bytes(budget) == expected


def test_the_budget_auto_is_a_part_of_what_is_free():
    assert memory_budget_bytes("auto") > 2**20


def test_what_is_free_is_no_more_than_a_container_has(tmp_path, monkeypatch):
    """Of the job itself, and of what it is in, whichever is less; read files are given back."""
    line = "0::/slurm/job_7\n"
    (tmp_path / "cgroup").write_text(line)
    inner = tmp_path / "slurm" / "job_7"
    inner.mkdir(parents=True)
    for folder, most, used, files in ((inner, "max", 5000, 0), (inner.parent, "9000", 6000, 1500)):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {files}\n")
    monkeypatch.setattr(available, "_GROUPS", tmp_path)
    monkeypatch.setattr(available, "_OF_THIS_PROCESS", tmp_path / "cgroup")
    assert available.available_bytes() == 4500
    assert memory_budget_bytes("auto") == 1125
    old = tmp_path / "memory" / "job_7"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("800\n")
    (old / "memory.usage_in_bytes").write_text("300\n")
    (tmp_path / "cgroup").write_text("4:cpu:/job_7\n7:memory,net:/job_7\n")
    assert available.available_bytes() == 500


@pytest.mark.parametrize("budget", [0, -1, True, 2.5, None, "", "much", "0", "-3GB", "2 apples"])
def test_another_budget_is_refused(budget):
    with pytest.raises(InputError, match=r"memory_budget is .*'auto', a number of bytes, or a te"):
        memory_budget_bytes(budget)
    with pytest.raises(InputError, match="memory_budget"):
        make(memory_budget=budget)


def fitting(width: int, budget: int, extra_numbers: int = 0) -> int:
    model = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3))
    task = LossTask(cross_entropy, reduction="none")
    batch = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    taken = taken_by_an_example(task, model, batch)
    return taken.fitting(extra_numbers=extra_numbers, budget=budget)


def test_the_batch_size_auto_fits_cache_and_budget():
    assert fitting(8, CACHE_BYTES) == LARGEST
    few = fitting(10**5, CACHE_BYTES)
    assert 1 < few < LARGEST
    # An example keeps at least what comes out of its wide layer, and at most a few such.
    assert few * 10**5 * 4 <= CACHE_BYTES < 8 * few * 10**5 * 4
    assert fitting(10**5, 10**6) < few
    assert fitting(10**5, 1) == 1
    assert fitting(8, CACHE_BYTES, extra_numbers=10**6) == 8


def test_weights_that_autocast_converts_take_nothing_of_an_example():
    model = nn.Sequential(nn.Linear(600, 500), nn.Tanh(), nn.Linear(500, 3)).requires_grad_(False)
    exact = LossTask(cross_entropy, reduction="none")
    inputs = torch.randn(2, 600, requires_grad=True)
    batch = inputs, torch.tensor([0, 1])
    taken = [taken_by_an_example(task, model, batch) for task in (exact, Autocast(exact))]
    sizes = [each.fitting(extra_numbers=0, budget=10**6) for each in taken]
    # A converted weight is 600 kB; an example's activations are some thousand numbers.
    assert sizes[1] >= sizes[0] >= 96


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def test_what_stands_in_for_a_layer_is_what_a_batch_size_is_measured_on():
    model = Sequences().eval()
    task = LossTask(cross_entropy, reduction="none")
    batch = torch.randn(4, 2000, 16), torch.tensor([0, 1, 2, 0])
    capture = Capture(model, tuple(dict(model.named_parameters())))

    def size(within):
        taken = taken_by_an_example(task, model, batch, within=within)
        return taken.fitting(extra_numbers=0, budget=CACHE_BYTES)

    with capture.attached():
        # torch's own LSTM keeps several times as much as headwater's of a sequence.
        assert size(capture.trying(4)) > size(None)
        assert not capture.seen_gradients
