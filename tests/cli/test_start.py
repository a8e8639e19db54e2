"""Help, and the ways to start: `init` and `demo`."""

import re
import subprocess
import sys

import pytest

from headwater.cli.exit_codes import EXPLAINED
from headwater.demo import __main__ as demo_main
from headwater.version import __version__
from tests.cli.conftest import SMALL

COMMANDS = [
    [],
    ["demo"],
    ["init"],
    ["check"],
    ["checkpoints"],
    ["self-influence"],
    ["influence"],
    ["evaluate"],
    ["store"],
    *(["store", name] for name in ("build", "query", "append", "delete", "info", "verify")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_in_80_columns(headwater, command):
    status, out, err = headwater(*command, "--help")
    assert (status, err) == (0, "")
    assert f"Usage: headwater {' '.join(command)}".strip() in out
    assert max(map(len, out.splitlines())) <= 80
    # Help that was cut short ends in dots.
    assert "..." not in re.sub(r"\[ID\]\.\.\.|\[ARGS\]\.\.\.", "", out)


def test_exit_codes_are_explained(headwater):
    _, out, _ = headwater("--help")
    for code in ("0 ", "1 ", "2 ", "3 ", "70 ", "130 "):
        assert f"\n    {code}" in out
    assert "130" in EXPLAINED


def test_both_ways_to_call_it():
    for command in (["headwater"], [sys.executable, "-m", "headwater"]):
        if command == ["headwater"]:
            command = [sys.executable, "-c", "from headwater.cli.main import main; main()"]
        answer = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=True, timeout=120
        )
        assert answer.stdout == f"headwater {__version__}\n"


def test_init_writes_a_file_and_says_what_to_do(headwater, tmp_path):
    status, out, err = headwater("init")
    assert (status, err) == (0, "")
    assert "python attribution.py" in out
    assert "headwater check attribution.py" in out
    text = (tmp_path / "attribution.py").read_text(encoding="utf-8")
    for name in ("model", "train_dataset", "query_dataset", "loss_fn", "checkpoints"):
        assert re.search(rf"^(def {name}\(|{name} = )", text, re.MULTILINE), name


def test_init_leaves_a_file_that_is_there(headwater, tmp_path):
    (tmp_path / "attribution.py").write_text("mine")
    status, _, err = headwater("init")
    assert status == 3
    assert "is there already, and was left as it is" in err
    assert (tmp_path / "attribution.py").read_text() == "mine"
    status, _, _ = headwater("init", "--force")
    assert status == 0
    assert (tmp_path / "attribution.py").read_text() != "mine"


def test_init_names_the_file_as_it_was_asked_to(headwater, tmp_path):
    status, out, _ = headwater("init", "digits.py")
    assert status == 0
    assert "headwater check digits.py" in out
    assert "headwater check digits.py" in (tmp_path / "digits.py").read_text(encoding="utf-8")
    assert headwater("init", "digits.txt")[0] == 2
    assert headwater("init", "nowhere/digits.py")[0] == 3


def test_the_demo_runs_and_leaves_a_file_to_go_on_with(headwater, monkeypatch, tmp_path):
    monkeypatch.setattr(demo_main, "Settings", lambda: SMALL)
    status, out, _ = headwater("demo", "--out", "found")
    assert status == 0
    assert "6 of 60 training labels were flipped" in out
    assert "found/attribution.py" in out
    status, out, _ = headwater("influence", "found/attribution.py", "--queries", "0", "--k", "1")
    assert status == 0
    assert "Query 0" in out
