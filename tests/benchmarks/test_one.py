"""The process that measures one method, with so few examples that it says nothing of time."""

import pytest
import torch

from benchmarks.agreement import TOLERANCE
from benchmarks.answering import ALL_SCORES, QUESTIONS, SELF_INFLUENCE
from benchmarks.process import ProcessFailed, one


@pytest.mark.end_to_end
def test_headwater_on_a_few_examples_of_w1_answers_every_question(tmp_path):
    scores = tmp_path / "scores.pt"
    found = one(
        *("W1", "headwater", "--examples", 16, "--rounds", 1, "--plain-batch", 16),
        *("--scores", scores),
        threads=1,
    )
    assert (found["N"], found["N of the workload"], found["Q"], found["C"]) == (16, 16, 100, 5)
    assert found["from autograd"] < TOLERANCE
    assert found["top and all"]["largest"] < TOLERANCE
    for question in QUESTIONS:
        times = found["questions"][question]
        assert times["ratio"] == pytest.approx(times["seconds"] / times["plain seconds"])
    kept = torch.load(scores)
    assert kept[ALL_SCORES].shape == (100, 16)
    assert kept[SELF_INFLUENCE].shape == (16,)


@pytest.mark.end_to_end
def test_a_process_that_fails_says_what_it_said_last():
    with pytest.raises(ProcessFailed, match="invalid choice: 'W0'"):
        one("W0", "headwater", threads=1)
