"""Several processes against one."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from headwater.engine.looks import Looks
from tests.distributed import jobs
from tests.distributed.in_ranks import in_ranks

run = partial(in_ranks, jobs)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
def test_ranks_look_at_no_fewer_batches_than_one_process_and_share_them(ranks):
    batches = 200
    looks = [
        [count for count in range(1, batches // ranks + 1) if Looks(rank, ranks).due(count)]
        for rank in range(ranks)
    ]
    total = sum(map(len, looks))
    assert total >= batches.bit_length()
    # Doubling distances: some rank looks at its first batch, its second, its fourth, ...
    assert {count for each in looks for count in each} == {2**i for i in range(10)} & set(
        range(batches // ranks + 1)
    )
    assert max(map(len, looks)) <= 1 + -(-batches.bit_length() // ranks)


@pytest.mark.end_to_end
@pytest.mark.parametrize("size", [2, 3])
def test_every_rank_has_the_answers_of_a_single_process_bit_for_bit(size, tmp_path):
    expected = jobs.answers()
    for found in run("answers", size, tmp_path):
        assert list(found) == list(expected)
        for name, answers in expected.items():
            for ours, theirs in zip(found[name], answers, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=name)


@pytest.mark.end_to_end
def test_every_ranks_first_batch_is_looked_at(tmp_path):
    expected = jobs.looked_at_first(2)
    for found in run("looked at first", 2, tmp_path):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.end_to_end
def test_what_one_ranks_look_shows_holds_for_all(tmp_path):
    expected = jobs.looked_at_by_one()
    for found in run("looked at by one", 2, tmp_path):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.end_to_end
def test_a_rank_that_is_killed_is_named_by_the_others(tmp_path):
    first, killed, third = run("killed", 3, tmp_path)
    assert killed is None
    for said in (first, third):
        assert said.startswith("RankError"), said
        assert "rank 1 died" in said


@pytest.mark.end_to_end
def test_an_error_on_a_rank_reaches_the_others(tmp_path):
    first, failed, third = run("nan", 3, tmp_path)
    assert failed.startswith("NonFiniteError")
    assert "training example 13" in failed
    for said in (first, third):
        assert said.startswith("RankError: rank 1 stopped: NonFiniteError"), said


@pytest.mark.end_to_end
def test_ranks_that_are_asked_different_things_are_told_which(tmp_path):
    for said in run("different", 2, tmp_path):
        assert "the first queries' digest is" in said
        assert "the number of checkpoints is 1 on rank 0 and 2 on rank 1" in said
        assert "the names and rates of checkpoints is" in said
