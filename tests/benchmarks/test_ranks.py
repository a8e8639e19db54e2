"""The comparison of several processes with one runs, and both have the same scores."""

import subprocess
import sys
from pathlib import Path


def test_two_processes_against_one():
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.ranks", "W1", "--examples", "64", "--rounds", "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "W1, N = 64, all scores",
        "W1, N = 64, self-influence",
        "W1, N = 64, plain passes that exchange nothing",
    ]
    assert all("2 processes are " in line for line in lines)
