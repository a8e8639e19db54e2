"""Curvature and vectors of models that are sharded over processes, against whole ones in one."""

from __future__ import annotations

import pytest
import torch

from tests.distributed import sharded_methods as jobs
from tests.distributed.in_ranks import in_ranks

# Of scores in float64: sums over examples in another order, through an eigendecomposition.
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    jobs.record(folder / "run")
    yield jobs.answers(folder)
    torch.set_num_threads(threads)


@pytest.mark.end_to_end
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_that_share_a_model_have_the_answers_of_a_whole_one(size, expected, tmp_path):
    found = in_ranks(jobs, "answers", size, tmp_path)
    for rank, got in enumerate(found):
        assert not isinstance(got, str), got
        answers, (odd, afterwards, left) = got
        assert list(answers) == list(expected)
        for name, theirs in expected.items():
            for ours, whole in zip(answers[name], theirs, strict=True):
                largest = float(whole.double().abs().max())
                torch.testing.assert_close(ours, whole, rtol=0, atol=TOLERANCE * largest, msg=name)
        # Of three ranks the second has the batch of the example without a finite loss, too.
        error = "NonFiniteError: training example 4"
        assert odd.startswith(error if rank == 1 else f"RankError: rank 1 stopped: {error}"), odd
        assert not isinstance(afterwards, str), afterwards
        assert left == []
