"""The command run in this process, and the runs that it is asked about."""

import runpy
import sys

import pytest

from headwater.cli.main import main
from headwater.demo.run import run as run_demo
from headwater.demo.settings import Settings

pytest.importorskip("click")
pytest.importorskip("sklearn")

SMALL = Settings(train_size=60, epochs=4, checkpoint_every=2, explained=2, k=2)


@pytest.fixture(autouse=True)
def imports_as_before():
    """A user's file goes on the path and among the modules, as a script does, and off again."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if not name.startswith(("headwater", "torch", "sklearn", "pandas", "pyarrow", "numpy")):
            del sys.modules[name]


@pytest.fixture(scope="session")
def started(tmp_path_factory):
    """A folder in which `headwater init` was run, and then what it wrote."""
    folder = tmp_path_factory.mktemp("started")
    path = folder / "attribution.py"
    assert main(["init", str(path)]) == 0
    runpy.run_path(str(path), run_name="__main__")
    return path


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """The attribution file of a small run of the demo."""
    out = tmp_path_factory.mktemp("demo")
    run_demo(SMALL, out)
    return out / "attribution.py"


@pytest.fixture
def headwater(capsys, monkeypatch, tmp_path):
    """Runs the command in an empty folder: its status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        status = main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run


@pytest.fixture
def written(tmp_path):
    """Writes an attribution file of three linear weights, with lines replaced or added."""

    def write(*changes, name="mine.py"):
        text = MINE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


MINE = """\
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

torch.manual_seed(0)
X, Y = torch.randn(40, 3), torch.arange(40) % 2


def model():
    return nn.Linear(3, 2)


def train_dataset():
    return TensorDataset(X[:30], Y[:30])


def query_dataset():
    return TensorDataset(X[30:], Y[30:])


def train_columns():
    return {"id": [f"row {n}" for n in range(30)], "source": ["web", "book", "web"] * 10}


loss_fn = nn.CrossEntropyLoss(reduction="none")
checkpoints = [(model().state_dict(), 0.3), (model().state_dict(), 0.07)]
"""
