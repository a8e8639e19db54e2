"""Freed blocks stay with the process for the next batch."""

import resource
import subprocess
import sys

import pytest

from headwater.engine import heap

PROGRAM = """
import resource
import torch
from headwater.engine.heap import freed_blocks_kept

def usage():
    return resource.getrusage(resource.RUSAGE_SELF)

def faults():
    before = usage().ru_minflt
    for _ in range(10):
        # More at a time than glibc leaves at the free end of a heap.
        blocks = [torch.ones(2**21) for _ in range(12)]
        del blocks
    return usage().ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

faults()
before = resident(), usage().ru_minflt
with freed_blocks_kept():
    taken = usage().ru_minflt - before[1]
    faults()
    print(faults(), taken, end=" ")
torch.ones(1)
print(resident() - before[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_blocks_of_a_batch_are_not_faulted_in_anew():
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    ).stdout
    faults, taken, left = map(int, found.split())
    page = resource.getpagesize()
    # One of 8 MB has 2,048 pages.
    assert faults < 10 * 12 * 8 * 2**20 // page // 10
    # Nothing is written to meanwhile, and the system has it back afterwards.
    assert taken < 2**20 // page
    assert left < 40 * 2**20 // page


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_where_no_addresses_are_left_it_does_nothing(monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(heap.torch, "empty", refused)
    with heap.freed_blocks_kept():
        pass
