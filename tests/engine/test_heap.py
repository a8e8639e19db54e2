"""Freed blocks stay with the process for the next batch."""

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from headwater.engine.heap import keep_freed_blocks

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**21)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
keep_freed_blocks()
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_blocks_of_a_batch_are_not_faulted_in_anew():
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    ).stdout
    # One of 8 MB has 2,048 pages.
    assert int(found) < 20 * 8 * 2**20 // resource.getpagesize() // 10
