"""The measurement of exact unrolling runs, and agrees with its own check."""

import pytest
from torch import nn


def test_predicted_and_true_changes_are_measured():
    pytest.importorskip("sklearn")
    from benchmarks.unrolling import Setting, measured, sgd

    setting = Setting(nn.Tanh, sgd(0.1, momentum=0.5), batch=25, epochs=2)
    found = measured(setting, examples=100, queries=4, removals=4)
    assert found["updates"] == 8
    assert found["correlation"] > 0.95
    assert found["check"]["believable"]
    assert set(found["others"]) == {"TracInIdeal", "TracInIdeal, at the end"}
