"""Models that are sharded over processes against whole ones in a single process."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tests.distributed import sharded
from tests.distributed.in_ranks import in_ranks

pytestmark = pytest.mark.end_to_end

run = partial(in_ranks, sharded)


@pytest.fixture(scope="module")
def expected():
    return sharded.expected()


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    jobs = "answers,trained,from_files,half,refusals,read"
    return run(jobs, 2, tmp_path_factory.mktemp("sharded"))


def agree(answers, expected):
    for found in answers:
        assert list(found) == list(expected)
        for name, whole in expected.items():
            for ours, theirs in zip(found[name], whole, strict=True):
                # float64
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10, msg=name)


def test_two_ranks_have_the_scores_of_the_whole_model_and_leave_the_sharded_one_as_it_was(
    by_two, expected
):
    agree([found["answers"] for found in by_two], expected)


def test_three_ranks_have_the_scores_of_the_whole_model(expected, tmp_path):
    agree([found["answers"] for found in run("answers", 3, tmp_path)], expected)


def test_a_fully_sharded_model_in_one_process_has_the_scores_of_the_whole_model(expected, tmp_path):
    some = {name: expected[name] for name in ("mlp", "odd", "decoder")}
    (found,) = run("answers", 1, tmp_path)
    agree([{name: found["answers"][name] for name in some}], some)


def test_training_goes_on_as_if_nothing_had_been_asked(by_two):
    for found in by_two:
        without, between = found["trained"]
        for ours, theirs in zip(between, without, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_checkpoints_are_read_from_files_and_by_a_loader_of_sharded_folders(by_two, expected):
    for found in by_two:
        for scores in found["from_files"]:
            torch.testing.assert_close(scores, expected["decoder"][0], rtol=1e-10, atol=1e-10)


def test_scores_in_float32_and_in_mixed_precision_are_as_near_as_their_rounding(by_two, expected):
    whole = expected["decoder"][0]
    for found in by_two:
        single, mixed = ((one - whole).abs().max() / whole.abs().max() for one in found["half"])
        assert single < 1e-5
        assert 1e-5 < mixed < 2e-2


def test_what_a_sharded_model_cannot_be_asked_is_refused(by_two):
    for found in by_two:
        said = found["refusals"]
        assert said["alone"].startswith("InputError")
        assert "ask on every rank" in said["alone"]
        assert said["curved"].startswith("InputError")
        assert "pass a model that is whole" in said["curved"]
        assert said["older"].startswith("ModelError")
        assert "fully_shard" in said["older"]
        assert said["sizes"].startswith("InputError")
        assert "the batch size is 2 on rank 0 and 3 on rank 1" in said["sizes"]
        assert said["others"].startswith("InputError: the ranks were asked different things")
        assert "the first batch's digest" in said["others"]
        assert said["others at the end"].startswith("InputError: rank 1 came to other numbers")
        assert "the names and rates of checkpoints is" in said["other rates"]
        assert said["other modules"].startswith("CaptureError: the model calls other modules")
        assert said["reentrant"].startswith("CaptureError")
        assert "use_reentrant=False" in said["reentrant"]


def test_an_error_in_a_pass_is_every_ranks_and_the_model_answers_afterwards(by_two, expected):
    for found in by_two:
        said = found["refusals"]
        assert said["not finite"].startswith("NonFiniteError: training example 8")
        assert said["failing"].startswith("RuntimeError: mat1 and mat2")
        for ours, theirs in zip(said["afterwards"], expected["mlp"], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_ranks_have_a_batch_each_as_long_as_there_is_one_for_all(by_two):
    # Batches of 3 examples of 11: the first settles rules on both, and the last two are both's.
    first, second = (found["read"] for found in by_two)
    assert first == {0, 1, 2, 6, 7, 8, 9, 10}
    assert second == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}


def test_an_error_with_one_ranks_batch_is_told_to_the_others(by_two):
    first, second = (found["refusals"] for found in by_two)
    for name, error in (
        ("not finite on one", "NonFiniteError: training example 4"),
        ("not read on one", "ValueError: no row 4"),
        ("not read of all", "ValueError: no row 10"),
    ):
        assert second[name].startswith(error)
        assert first[name].startswith(f"RankError: rank 1 stopped: {error}")


@pytest.mark.parametrize("job", ["killed", "killed with a batch of its own"])
def test_a_rank_that_is_killed_is_named_by_the_other(job, tmp_path):
    first, killed = run(job, 2, tmp_path)
    assert killed is None
    assert first[job].startswith("RankError"), first
    assert "rank 1 died" in first[job]
