"""What can't be meant is refused before anything is computed."""

import builtins

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

from headwater import InputError, MissingDependencyError, Report, TracInCP
from headwater.report.page.chart_library import chart_library
from headwater.report.page.render import _environment
from headwater.report.thumbnails import _pillow
from tests.report.conftest import TRAINING, linear


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "image"}, "kind is 'image'; expected one of 'images'"),
        ({"k": 0}, "k is 0; expected an int of at least 1"),
        ({"traced": True}, "traced is True"),
        ({"class_names": "digit"}, "lists of texts"),
        ({"decode": "utf-8"}, "decode is a str"),
        ({"suspects": [1]}, "suspects is a list"),
        ({"examples": {"source": ["a"]}}, "has 1 entries for 130"),
    ],
)
def test_odd_settings(run, options, said):
    with pytest.raises(InputError, match=said):
        run.report(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"truth": [1, 2]}, "truth has 2 entries for 130"),
        ({"truth": ["zero"] * TRAINING}, "truth has the entry 'zero'"),
        ({"truth": "absent"}, "no column 'absent'"),
        ({"rankings": {"mine": [1.0]}}, "ranking 'mine' has 1 entries"),
        ({"rankings": {"mine": [float("nan")] * TRAINING}}, "0 of them finite"),
        ({"feature_names": ["a"], "kind": "rows"}, "1 entries for rows of 64 numbers"),
        ({"kind": "text"}, "no texts are known"),
    ],
)
def test_settings_that_do_not_fit_the_data(run, options, said):
    with pytest.raises(InputError, match=said):
        run.report(**options).html()


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(64), 0)])


@pytest.mark.parametrize(
    ("place", "said"),
    [("file/report", "is a file, and no folder"), ("folder.html", "is a folder; name a file")],
)
def test_a_place_that_nothing_can_be_written_to_costs_no_work(
    run, tmp_path, monkeypatch, place, said
):
    (tmp_path / "file").touch()
    (tmp_path / "folder.html").mkdir()
    report = run.report()
    monkeypatch.setattr(type(report), "html", lambda self: pytest.fail("it went to work"))
    with pytest.raises(InputError, match=said):
        report.write(tmp_path / place)


def test_streams_and_generators_and_other_estimators(run):
    loss = nn.CrossEntropyLoss(reduction="none")
    streamed = TracInCP(linear(), Stream(), run.checkpoints, loss_fn=loss)
    with pytest.raises(InputError, match="training data is a stream"):
        Report(streamed)
    data = TensorDataset(run.images, run.given)
    with pytest.raises(InputError, match="come from a generator"):
        Report(TracInCP(linear(), data, iter(run.checkpoints), loss_fn=loss))
    with pytest.raises(InputError, match="a report shows the training examples"):
        Report(nn.Linear(2, 2))
    with pytest.raises(InputError, match="without inputs"):
        Report(run.estimator(), targets=run.query_labels)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("jinja2", lambda: _environment()),
        ("vl_convert", lambda: chart_library.__wrapped__()),
        ("PIL", lambda: _pillow()),
    ],
)
def test_a_missing_package_says_what_to_install(monkeypatch, name, part):
    real = builtins.__import__

    def without(module, *arguments, **named):
        if module.partition(".")[0] == name:
            raise ImportError(module)
        return real(module, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"headwater\[report\]"):
        part()
