"""Running `benchmarks.one` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class ProcessFailed(Exception):
    """The process ended without an answer; the message is the last thing it said."""


def one(*arguments: object, threads: int, timeout: float | None = None) -> dict[str, Any]:
    """What `python -m benchmarks.one` with these arguments finds.

    Raises:
        ProcessFailed: it failed, was killed, or took longer than `timeout` seconds.
    """
    command = [sys.executable, "-m", "benchmarks.one", *map(str, arguments)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TQDM_DISABLE": "1",  # Not every library lets its progress bars be switched off.
    }
    try:
        done = subprocess.run(
            [*command, "--threads", str(threads)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"no answer within {timeout:,.0f} seconds") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProcessFailed(f"{last} (exit status {done.returncode})")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
