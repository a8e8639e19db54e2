"""What was asked of `headwater evaluate`: judged, or said not to be."""

import json
import re
from dataclasses import replace

import pytest

from headwater.errors import ModelError
from headwater.estimators import DataInfluence
from headwater.evaluation import METHODS, FunctionRetraining, Method

from .test_evaluate import FEW, RECIPE, TRAIN


def said(text):
    return " ".join(text.split())


class Failing(DataInfluence):
    def influence(self, inputs=None, *rest, **kwargs):
        raise ModelError("no such layer here")


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setitem(METHODS, "failing", Method("failing one", lambda run: Failing()))


@pytest.fixture
def by_function(written):
    return written(("checkpoints =", TRAIN))


@pytest.fixture
def by_recipe(written):
    return written(("checkpoints =", RECIPE))


def test_a_bank_of_other_options_is_named_by_them(headwater, by_function):
    assert headwater("evaluate", by_function, *FEW)[0] == 0
    status, _, err = headwater("evaluate", by_function, "--subsets", "5", "--queries", "0:7")
    assert status == 3
    assert (
        "the bank in evaluation-bank was built with --subsets 4 (5 now) and other queries than "
        "--queries names (6 there, 7 now). To judge by it, give the same options again; to build "
        "another beside it, pass --bank FOLDER"
    ) in said(err)
    status, _, err = headwater("evaluate", by_function, *FEW, "--queries", "1:7", "--seed", "1")
    assert "built with --seed 0 (1 now) and other queries than --queries names. To" in said(err)
    assert not re.search("[0-9a-f]{64}", err)
    other = headwater("evaluate", by_function, *FEW, "--queries", "1:7", "--bank", "other")
    assert other[0] == 0


def test_a_changed_recipe_is_named_by_its_fields(headwater, written):
    path = written(("checkpoints =", RECIPE))
    assert headwater("evaluate", path, *FEW)[0] == 0
    written(("checkpoints =", RECIPE.replace("epochs=3", "epochs=4")))
    status, _, err = headwater("evaluate", path, *FEW)
    assert status == 3
    assert (
        "built with another epochs (3 there, 4 now). To judge by it, put mine.py back as it was; to"
    ) in said(err)


def test_a_bank_is_said_to_be_new_or_used_again(headwater, by_function):
    _, _, err = headwater("evaluate", by_function, *FEW)
    assert "A bank is built in evaluation-bank: 8 models to train" in err
    _, _, err = headwater("evaluate", by_function, *FEW)
    assert "The bank in evaluation-bank is used again: 8 models" in err


def test_an_interruption_says_what_is_kept(headwater, by_function, monkeypatch):
    whole, left = FunctionRetraining.states, iter([False, True])

    def states(self, runs):
        if next(left):
            raise KeyboardInterrupt
        return whole(self, runs)

    monkeypatch.setattr(FunctionRetraining, "states", states)
    status, _, err = headwater("evaluate", by_function, *FEW)
    assert status == 130
    assert "bank in evaluation-bank keeps 1 of 8 models. The same command goes on from" in said(err)
    monkeypatch.setattr(FunctionRetraining, "states", whole)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("headwater.cli.evaluated.by_lds.judge_by_lds", interrupted)
    status, _, err = headwater("evaluate", by_function, *FEW)
    assert status == 130
    assert "The bank in evaluation-bank is gone on with: it lacks 7 of 8 models" in err
    assert "bank in evaluation-bank is complete. The same command uses its 8 models" in said(err)
    monkeypatch.setattr(FunctionRetraining, "states", interrupted)
    status, _, err = headwater("evaluate", by_function, *FEW, "--bank", "other")
    assert status == 130
    assert "the same command begins anew" in said(err)
    assert "keeps" not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--measure", "mislabel", "--methods", "grad-cos"], "grad-cos has no self-influence"),
        (
            ["--measure", "mislabel", "--methods", "less,grad-cos"],
            "less and grad-cos have no self-inf",
        ),
        (["--methods", "training-loss"], "training-loss has no scores by query"),
        (["--measure", "removal", "--methods", "training-loss"], "has no scores by query"),
        (["--measure", "mislabel", "--scores", "a=f.npy"], "--scores is for --measure lds and"),
        (["--measure", "mislabel", "--queries", "0:5"], "--queries is for --measure lds and"),
        (["--share", "0.2"], "--share is for --measure mislabel, and --measure lds makes no use"),
        (["--measure", "removal", "--subsets", "9"], "--subsets is for --measure lds, and"),
    ],
)
def test_what_a_measure_cannot_judge_is_an_error_of_usage(headwater, by_recipe, arguments, says):
    status, out, err = headwater("evaluate", by_recipe, *arguments)
    assert status == 2
    assert says in said(err)
    assert not out


def test_some_that_cannot_be_judged_are_said_not_to_be(headwater, by_recipe):
    wrong_labels = ["--measure", "mislabel", "--seeds", "2"]
    status, out, _ = headwater(
        "evaluate", by_recipe, *wrong_labels, "--methods", "less,random", "--json"
    )
    assert status == 0
    found = json.loads(out)
    assert [row["method"] for row in found["rows"]] == ["random", "margin (baseline)"]
    assert any("Not judged: less has no self-influence" in note for note in found["notes"])
    assert any("The baseline is" in note for note in found["notes"])
    status, out, _ = headwater("evaluate", by_recipe, *FEW, "--methods", "training-loss,random")
    assert status == 0
    assert "Not judged: training-loss has no scores by query" in said(out)


def test_of_what_comes_by_default_some_may_be_left_out(headwater, by_recipe, monkeypatch):
    monkeypatch.setitem(METHODS, "random", replace(METHODS["random"], has_self_influence=False))
    status, out, _ = headwater("evaluate", by_recipe, "--measure", "mislabel", "--seeds", "1")
    assert status == 0
    assert "Not judged, of what comes by default: random has no self-influence" in said(out)


def test_queries_that_are_not_there_are_not_left_out(headwater, by_recipe):
    status, _, err = headwater("evaluate", by_recipe, "--queries", "0:6,99")
    assert status == 3
    assert "--queries asks for number 99" in said(err)


def test_methods_that_fail_have_no_seconds_and_are_told_of(headwater, by_recipe, failing):
    status, out, err = headwater("evaluate", by_recipe, *FEW, "--methods", "random,failing")
    assert status == 0, err
    assert "failing one failed: no such layer here" in out
    assert "The ceiling isn't known" not in out
    # Its row is its title, and nothing else.
    assert "failing one" in [line.strip() for line in out.splitlines()]
    status, out, _ = headwater(
        "evaluate", by_recipe, "--measure", "removal", "--queries", "0:2", "--seeds", "1",
        "--remove", "3", "--methods", "random,failing",
    )  # fmt: skip
    assert status == 0
    assert "failing one failed: no such layer here" in out


@pytest.mark.parametrize(
    "measure",
    [
        FEW,
        ["--measure", "mislabel", "--seeds", "1"],
        ["--measure", "removal", "--queries", "0:2", "--remove", "3"],
    ],
)
def test_where_every_method_failed_the_command_failed(headwater, by_recipe, failing, measure):
    status, out, err = headwater("evaluate", by_recipe, *measure, "--methods", "failing")
    assert status == 3
    assert "the method failed, so there is no table. failing one failed: no such" in said(err)
    assert not out


@pytest.mark.parametrize("measure", [FEW, ["--measure", "removal", "--queries", "0:2"]])
@pytest.mark.parametrize("where", ["'run'", "['run/epoch-1.pt']", "[('run/epoch-1.pt', 0.1)]"])
def test_missing_checkpoints_are_found_before_models_are_trained(
    headwater, written, tmp_path, measure, where
):
    path = written(("checkpoints =", f"{RECIPE} {where}\nothers ="))
    status, _, err = headwater("evaluate", path, *measure)
    assert status == 3
    assert "train it first, by python mine.py if that is what this file does" in said(err)
    assert not (tmp_path / "evaluation-bank").exists()


def test_what_needs_no_checkpoints_is_judged_without(headwater, written):
    path = written(("checkpoints =", f"{RECIPE} 'run'\nothers ="))
    status, _, err = headwater("evaluate", path, *FEW, "--methods", "random")
    assert status == 0, err


def test_trak_says_that_it_is_of_one_model(headwater, by_recipe):
    status, out, err = headwater("evaluate", by_recipe, *FEW, "--methods", "trak", "--json")
    assert status == 0, err
    assert [row["method"] for row in json.loads(out)["rows"]] == ["TRAK, one model"]


def test_what_needs_a_recording_is_said_before_models_are_trained(headwater, by_function, tmp_path):
    """The file's checkpoints are plain files."""
    bank = tmp_path / "bank"
    asked = ["evaluate", by_function, *FEW, "--bank", bank, "--methods"]
    status, out, err = headwater(*asked, "unrolling,less")
    assert status != 0
    assert not out
    assert not bank.exists()
    assert "each of the 2 methods failed" in said(err)
    status, out, err = headwater(*asked, "unrolling,random")
    assert status == 0
    assert "Note: exact unrolling failed: the run can't be taken again" in said(err)
    assert "exact unrolling failed" in said(out)
