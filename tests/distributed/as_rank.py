"""A process of a test as one rank of a group: it does a job and writes down what came of it."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import distributed as dist

if TYPE_CHECKING:
    from collections.abc import Callable


def as_rank(answer: Callable[[str, Path], object], *, leaves: Callable[[str], bool]) -> None:
    """Does the job that the command line names: job, rank, number of ranks, folder.

    Args:
        answer: from the job's name and the folder to what is written down; of an error its text is.
        leaves: whether the group is left in order after the job; not where a rank was lost.
    """
    job, rank, size, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    try:
        found = answer(job, folder)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    torch.save(found, folder / f"rank-{rank}.pt")
    if leaves(job):
        with suppress(Exception):
            dist.destroy_process_group()
