"""Estimators with a fit or a pass of their own: several processes against one."""

from __future__ import annotations

import pytest
import torch

from tests.distributed import methods
from tests.distributed.test_answers import run

# Of scores in float64: sums over examples in another order, through an eigendecomposition.
TOLERANCE = 1e-9


@pytest.mark.end_to_end
@pytest.mark.parametrize("size", [2, 3])
def test_every_rank_has_the_answers_of_a_single_process(size, tmp_path):
    (tmp_path / "one").mkdir()
    for folder in (tmp_path, tmp_path / "one"):
        methods.record(folder / "run")
    torch.set_num_threads(1)
    expected = methods.answers(tmp_path / "one")
    together = methods.fitted_together(tmp_path / "one")
    found = run("methods", size, tmp_path)
    for rank in found:
        assert list(rank) == list(expected)
        for name, answers in expected.items():
            allowed = TOLERANCE if name in together else 0
            for ours, theirs in zip(rank[name], answers, strict=True):
                largest = float(theirs.double().abs().max())
                torch.testing.assert_close(
                    ours, theirs, rtol=0, atol=allowed * largest, msg=lambda m, n=name: f"{n}: {m}"
                )
    for name, answers in found[0].items():
        # Whatever was summed in another order: on all ranks it is the same.
        for rank in found[1:]:
            for ours, theirs in zip(rank[name], answers, strict=True):
                assert torch.equal(ours, theirs), name
    assert (tmp_path / "factors").is_file()


@pytest.mark.end_to_end
def test_a_rank_that_dies_in_a_fit_is_named(tmp_path):
    first, killed, third = run("fit killed", 3, tmp_path)
    assert killed is None
    for said in (first, third):
        assert said.startswith("RankError"), said
        assert "rank 1 died" in said


@pytest.mark.end_to_end
def test_an_error_in_a_fit_reaches_the_others(tmp_path):
    first, failed, _ = run("fit nan", 3, tmp_path)
    assert failed.startswith("NonFiniteError")
    assert "training example 13" in failed
    assert first.startswith("RankError: rank 1 stopped: NonFiniteError"), first
