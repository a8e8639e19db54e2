"""The command under a real torchrun: one voice, one writer, the files of a single process."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from headwater.cli.main import main

pytest.importorskip("pyarrow")
pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(os.name == "nt", reason="there are no such signals"),
]

TESTS = Path(__file__).parents[2]
BEGINS = """import torch
from torch import distributed

if distributed.is_torchelastic_launched():
    distributed.init_process_group("gloo")
"""
SHARDED = """
    from torch.distributed.fsdp import fully_shard

    net = nn.Linear(3, 2)
    fully_shard(net)
    return net
"""
BATCHES = ("loss_fn =", "batch_size = 4\nloss_fn =")
# Row 13 is in batch 3, one of rank 1.
READING = """
import os
import signal
import time
from pathlib import Path


class Reading(Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, n):
        if n == 13 and os.environ.get("RANK") == "1":
            Path("reached").touch()
            HAPPENS
        return X[n], Y[n]


batch_size = 4
loss_fn ="""


def torchrun(folder, *arguments, module="headwater"):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", module]
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # So that what is sent to all of them doesn't reach pytest.
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process):
    try:
        out, err = process.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    ours = err.split("Traceback (most recent call last)")[0]
    return process.returncode, out, err, ours


def reading(written, happens):
    return written(
        ("loss_fn =", READING.replace("HAPPENS", happens)),
        ("return TensorDataset(X[:30], Y[:30])", "return Reading()"),
    )


def test_files_are_those_of_a_single_process_and_one_process_speaks(written, tmp_path, capsys):
    path = written(BATCHES)
    # A file that begins the group itself is taken as it is.
    begun = written(("import torch\n", BEGINS), BATCHES, name="begun.py")
    asked = ("--queries", "0:3", "--all", "--out")
    assert main(["influence", str(path), *asked, str(tmp_path / "one.csv")]) == 0
    one = capsys.readouterr()
    status, out, err, _ = ended(torchrun(tmp_path, "influence", begun, *asked, "two.csv"))
    assert status == 0, err
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert (out, err.count("Wrote all scores to")) == (one.out, 1)
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == [
        "begun.py",
        "mine.py",
        "one.csv",
        "two.csv",
    ]


def test_commands_in_several_processes(written, tmp_path, capsys):
    path = str(written(BATCHES))
    shared = [
        ["self-influence", path, "--top", "9", "--out", "FOLDER/self.parquet"],
        ["self-influence", path, "--by", "source", "--json"],
        ["influence", path, "--queries", "0:2", "--k", "3", "--out", "FOLDER/top.csv"],
        ["suspects", path, "--out", "FOLDER/suspects.csv", "--decisions", "FOLDER/decisions.json"],
        ["store", "build", path, "FOLDER/grads"],
        ["store", "query", path, "FOLDER/grads", "--k", "3", "--out", "FOLDER/asked.csv"],
        ["report", path, "-o", "FOLDER/report.html", "--queries", "0:3"],
    ]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    capsys.readouterr()
    for command in shared:
        assert main([part.replace("FOLDER", str(tmp_path / "one")) for part in command]) == 0
    one = capsys.readouterr().out
    several = [[part.replace("FOLDER", "two") for part in command] for command in shared]
    several += [
        ["init", "two/attribution.py"],
        ["influence", path, "--by", "source", "--out", "missing/top.csv"],
    ]
    process = torchrun(tmp_path, json.dumps(several), module="tests.cli.in_turn")
    status, out, _, ours = ended(process)
    assert status != 0
    shards = [file.name for file in (tmp_path / "one" / "grads").iterdir() if file.is_file()]
    stored = [f"grads/{name}" for name in sorted(shards) if "lock" not in name]
    assert "grads/manifest.json" in stored
    files = ("self.parquet", "top.csv", "suspects.csv", "decisions.json", "asked.csv")
    for name in (*files, *stored):
        expected = (tmp_path / "one" / name).read_bytes()
        assert (tmp_path / "two" / name).read_bytes() == expected, name
    assert (tmp_path / "two" / "report.html").is_file()
    assert (tmp_path / "two" / "attribution.py").is_file()
    assert out.startswith(one[: one.index("report.html")].replace(str(tmp_path / "one"), "two"))
    assert ours.count("`headwater init` is work for one process: rank 0 does it, and the") == 1
    assert ours.count("there is no folder missing; make it first") == 1
    statuses = [(tmp_path / f"status-{n}-{rank}").read_text() for n in range(8) for rank in (0, 1)]
    assert set(statuses) == {"0"}
    assert (tmp_path / "status-8-0").read_text() == "3"


def test_a_model_that_is_sharded_is_checked_by_all_and_a_whole_one_by_the_first(written, tmp_path):
    begun = ("import torch\n", BEGINS)
    path = written(begun, BATCHES, ("    return nn.Linear(3, 2)\n", SHARDED), name="sharded.py")
    status, out, err, ours = ended(torchrun(tmp_path, "check", path, "--json"))
    assert status == 0, err
    found = json.loads(out)
    assert (found["exact"], found["ranks_of_a_sharded_model"]) == (True, 2)
    assert [layer["kind"] for layer in found["layers"]] == ["Linear"]
    assert len(found["predictions"]) == 3
    assert "one process" not in ours
    whole = written(begun, BATCHES, name="whole.py")
    status, out, err, ours = ended(torchrun(tmp_path, "check", whole, "--no-cost", "--json"))
    assert status == 0, err
    found = json.loads(out)
    assert (found["exact"], found["ranks_of_a_sharded_model"]) == (True, 1)
    assert ours.count("is work for one process: rank 0 does it") == 1


def test_a_mistake_that_all_make_is_said_once_and_one_of_a_single_rank_by_that(written, tmp_path):
    path = reading(written, "return X[n] * float('nan'), Y[n]")
    status, out, err, ours = ended(torchrun(tmp_path, "self-influence", path, "--out", "s.csv"))
    assert status == 1
    assert not (tmp_path / "s.csv").exists()
    assert out == ""
    assert ours.count("training example 13") == 1, err
    assert "Error on rank 1: " in ours
    assert "exitcode  : 3" in err


def test_a_rank_that_is_killed_ends_all_and_is_named(written, tmp_path):
    path = reading(written, "os.kill(os.getpid(), signal.SIGKILL)")
    status, _, err, _ = ended(torchrun(tmp_path, "self-influence", path, "--out", "s.csv"))
    took = time.time() - (tmp_path / "reached").stat().st_mtime
    assert status != 0
    assert took < 60
    assert "rank 1 died" in err or "rank      : 1 (local_rank: 1)" in err
    assert "SIGKILL" in err
    assert not (tmp_path / "s.csv").exists()


def test_ctrl_c_ends_all_and_is_said_once(written, tmp_path):
    path = reading(written, "time.sleep(120)")
    process = torchrun(tmp_path, "self-influence", path, "--all", "--out", "s.csv")
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "reached").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
    finally:
        status, _, err, ours = ended(process)
    assert status != 0
    assert ours.count("Interrupted. No file is left half-written") == 1, err
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == [
        "mine.py",
        "reached",
    ]
