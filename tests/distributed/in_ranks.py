"""Processes of a group that a test starts, and what each of them wrote down."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path


def in_ranks(module: ModuleType, job: str, size: int, folder: Path) -> list[Any]:
    """What every rank got, by rank; None of one that didn't come to an end.

    Args:
        module: whose `main` does the job; see `as_rank`.
        job: its name; "killed" is in that of one that not all ranks survive.
        size: how many ranks there are.
        folder: where they meet, and write.
    """
    folder.mkdir(exist_ok=True)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module.__name__, job, str(rank), str(size), folder],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    told = [process.communicate(timeout=300)[1] for process in processes]
    found = []
    for rank, text in enumerate(told):
        path = folder / f"rank-{rank}.pt"
        assert path.exists() or "killed" in job, text
        found.append(torch.load(path) if path.exists() else None)
    return found
