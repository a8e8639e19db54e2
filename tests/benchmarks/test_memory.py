import pytest
import torch

from benchmarks.memory import CLEAR, peak_bytes

pytestmark = pytest.mark.skipif(not CLEAR.exists(), reason="measured on Linux only")
MB = 2**20


def test_memory_that_is_freed_before_the_end_counts():
    def run():
        return torch.ones(16 * MB).sum()

    assert 60 * MB < peak_bytes(run) < 80 * MB


def test_memory_that_was_held_before_does_not_count():
    held = torch.ones(16 * MB)
    assert peak_bytes(lambda: held.sum()) < 16 * MB


def test_an_earlier_and_higher_peak_does_not_count():
    peak_bytes(lambda: torch.ones(16 * MB).sum())
    assert peak_bytes(lambda: torch.ones(4 * MB).sum()) < 32 * MB
