"""A mistake gets a message that helps, the status that says whose it is, and no traceback."""

import subprocess
import sys

import pytest

from headwater.cli.commands import influence as influence_command
from headwater.cli.main import main

LOSS = 'loss_fn = nn.CrossEntropyLoss(reduction="none")'
TRAIN = "return TensorDataset(X[:30], Y[:30])"
GETITEM = """
class Broken(Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, n):
        if n == 11:
            raise ValueError("row 11 has no picture")
        return X[n], Y[n]


loss_fn ="""


@pytest.mark.parametrize(
    ("changes", "line", "said"),
    [
        ([("def train_dataset", "def (train_dataset")], "mine.py, line 13: invalid syntax", "^"),
        (
            [("import torch\n", "import torch\nimport nosuchpackage\n")],
            "mine.py, line 2:",
            "ModuleNotFoundError: No module named 'nosuchpackage'",
        ),
        (
            [("def train_dataset", "def get_train_dataset")],
            "doesn't define `train_dataset`",
            "`get_train_dataset` on line 13 looks like it: rename it",
        ),
        (
            [("def model", "def net"), ("model()", "net()")],
            "doesn't define `model`",
            "headwater init",
        ),
        ([(LOSS, "loss = None")], "doesn't define `loss_fn`", "`loss` on line 25 looks like it"),
        (
            [("model()", "model(2)"), ("def model(2)", "def model(width)")],
            "mine.py, line 9: model() is called without arguments",
            "needs width",
        ),
        (
            [
                ("(model().state_dict(), 0.3)", "'a.pt'"),
                ("(model().state_dict(), 0.07)", "'b.pt'"),
                ("return nn.Linear(3, 2)", "return {}"),
            ],
            "line 9: model() returned a dict",
            "expected a torch.nn.Module",
        ),
        (
            [(TRAIN, "return open('nothing.csv')")],
            "train_dataset() of mine.py raised an exception",
            "mine.py, line 14, in train_dataset:\n    return open('nothing.csv')\nFileNotFound",
        ),
        (
            [("loss_fn =", GETITEM), (TRAIN, "return Broken()")],
            "in __getitem__:\n    raise ValueError",
            "row 11 has no picture",
        ),
        (
            [("nn.Linear(3, 2)", "nn.Linear(4, 2)")],
            "mat1 and mat2 shapes cannot be multiplied",
            "training examples",
        ),
        ([("checkpoints = [", 'checkpoints = "run" or [')], "run", "expected a folder"),
        ([('"source": ["web"', '"source": [("web",)')], "has an entry of type tuple", "texts"),
        ([("] * 10}", "] * 9}")], "column 'source'", "27 entries for 30"),
        ([('return {"id"', 'return 3 or {"id"')], "train_columns is a int", "a list per column"),
        ([(LOSS, f"{LOSS}\nlayers = ['wieght']")], "wieght", "weight"),
        (
            [(LOSS, f"{LOSS}\nlayers = ['weight']\nfinal_layer = ''")],
            "both `layers` and `final_layer`",
            "give one",
        ),
    ],
    ids=lambda value: None if isinstance(value, list) else "".join(c for c in value if c.isalpha()),
)
def test_a_mistake_in_the_file(headwater, written, changes, line, said):
    status, out, err = headwater("self-influence", written(*changes))
    assert (status, out) == (3, "")
    assert err.startswith("Error: ")
    assert line in err
    assert said in err


def test_a_file_may_be_called_as_a_module_of_python_is(headwater, written):
    import random

    path = written(name="random.py")
    assert headwater("self-influence", path)[0] == 0
    assert sys.modules["random"] is random


def test_a_query_dataset_that_is_a_stream(headwater, written):
    path = written(("return TensorDataset(X[30:], Y[30:])", "return iter([])"))
    status, _, err = headwater("influence", path)
    assert status == 3
    assert "examples can't be picked by their places" in err


def test_a_misspelt_setting_is_pointed_out(headwater, written):
    path = written((LOSS, f"{LOSS}\nlearning_rate = [0.1, 0.1]"))
    status, _, err = headwater("self-influence", path)
    assert status == 0
    assert err == "Note: mine.py, line 26: `learning_rate` is no setting; `learning_rates` is\n"


def test_what_is_assumed_is_said_in_a_line(headwater, written):
    path = written((LOSS, "def loss_fn(p, t):\n    return nn.functional.cross_entropy(p, t)"))
    _, _, err = headwater("self-influence", path)
    assert err.startswith(("Note: ", "Error: loss_fn returned shape ()"))
    path = written((", 0.3)", ", 1.0)"), ("0.07)]", "1.0)][:1] + [model().state_dict()]"))
    status, _, err = headwater("self-influence", path)
    assert status == 0
    assert err.startswith("Note: ")
    assert "has no learning rate" in err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["self-influence", "nothing.py"], 3, "nothing.py doesn't exist"),
        (["self-influence", "."], 3, ". is a folder"),
        (["self-influence", "mine.py", "--out", "x.txt"], 2, "neither .csv nor .parquet"),
        (["self-influence", "mine.py", "--out", "no/x.csv"], 3, "there is no folder no"),
        (["self-influence", "mine.py", "--all"], 2, "name it with --out"),
        (["self-influence", "mine.py", "--by", "nothing"], 3, "known: 'id', 'source'"),
        (["self-influence", "mine.py", "--top", "0"], 2, "--top"),
        (["self-influence"], 2, "Missing argument 'ATTRIBUTION.PY'"),
        (["influence", "mine.py", "--queries", "0:x"], 2, "'0:x' isn't understood"),
        (["influence", "mine.py", "--queries", "-1"], 2, "isn't understood"),
        (["influence", "mine.py", "--queries", "4,10"], 3, "asks for number 10"),
        (["influence", "mine.py", "--queries", "3:3"], 3, "names no query"),
        (["influence", "mine.py", "--all", "--out", "x.csv", "--json"], 2, "--json"),
        (["influnce"], 2, "No such command 'influnce'"),
        (["store", "verify", "nothing"], 3, "no gradient store at nothing"),
        (["store", "delete", "nothing"], 2, "no id is given"),
        (["store", "build", "mine.py", "."], 3, "is no gradient store and isn't empty"),
        (["store", "append", "mine.py", "s"], 2, "--dataset"),
        (["store", "append", "mine.py", "s", "--dataset", "more"], 3, "doesn't define `more`"),
        (["check", "mine.py", "--queries", "99:"], 3, "names no query"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_on_the_command_line(headwater, written, arguments, status, said):
    written()
    found, out, err = headwater(*arguments)
    assert (found, out) == (status, "")
    assert said in err


def test_a_bug_of_ours_says_so_and_how_to_report_it(headwater, written, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(influence_command.Asked, "answer", broken)
    monkeypatch.setattr("headwater.cli.attribution.location._is_theirs", lambda filename: False)
    status, _, err = headwater("influence", written())
    assert status == 70
    assert err.startswith("Error: ZeroDivisionError: division by zero\n")
    assert "HEADWATER_TRACEBACK=1" in err
    monkeypatch.setenv("HEADWATER_TRACEBACK", "1")
    assert main(["influence", "mine.py"]) == 70


def test_without_click_the_command_says_what_to_install(headwater, monkeypatch):
    monkeypatch.setitem(sys.modules, "click", None)
    status, _, err = headwater("--help")
    assert status == 3
    assert err == (
        "Error: the command line needs click, which isn't installed: pip install 'headwater[cli]'\n"
    )


def test_without_pyarrow_nothing_is_computed_for_a_file_that_can_not_be(
    headwater, written, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = written((TRAIN, 'raise RuntimeError("it computes")'))
    status, _, err = headwater("self-influence", path, "--out", "x.parquet")
    assert status == 3
    assert "pip install 'headwater[tables]'" in err


def test_a_reader_that_goes_away_is_no_error(written):
    run = f"{sys.executable} -m headwater influence {written()} --json | head -c 10"
    answer = subprocess.run(run, shell=True, capture_output=True, text=True, timeout=120)
    assert answer.stderr == ""
