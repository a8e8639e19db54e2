"""Ctrl-C, in processes of their own: nothing half-written, and how to go on."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send"),
]

SLOW = """
import time
from pathlib import Path


class Slow(Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, n):
        # Not among those that a store is compared by, which are read first.
        if n == 22 and not Path("quick").exists():
            Path("reading").touch()
            time.sleep(60)
        return X[n], Y[n]


batch_size = 4
loss_fn ="""


@pytest.fixture
def slow(written):
    return written(("loss_fn =", SLOW), ("return TensorDataset(X[:30], Y[:30])", "return Slow()"))


def interrupted(folder, *arguments):
    """Runs the command until it reads training data, and presses Ctrl-C."""
    command = [sys.executable, "-m", "headwater", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background deaf to Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        while not (folder / "reading").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (folder / "reading").unlink()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "Traceback" not in err
    return process.returncode, err


def test_an_output_is_not_written_by_halves(slow, tmp_path):
    (tmp_path / "s.csv").write_text("before")
    status, err = interrupted(tmp_path, "self-influence", slow, "--all", "--out", "s.csv")
    assert status == 130
    assert "Interrupted. No file is left half-written; the same command begins anew." in err
    assert (tmp_path / "s.csv").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "mine.py",
        "s.csv",
    ]


def test_a_store_goes_on_with_the_same_command(slow, tmp_path):
    status, err = interrupted(tmp_path, "store", "build", slow, "grads")
    assert status == 130
    assert "16 examples are stored. The same command goes on from there." in err
    (tmp_path / "quick").touch()
    again = [sys.executable, "-m", "headwater", "store", "build", str(slow), "grads"]
    answer = subprocess.run(
        again, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert answer.stdout.startswith("grads: 30 examples, ")
