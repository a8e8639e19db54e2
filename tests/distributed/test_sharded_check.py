"""`headwater check` of models that are sharded over processes, against whole ones in one."""

from __future__ import annotations

import pytest
import torch

from tests.distributed import sharded_check as jobs
from tests.distributed.in_ranks import in_ranks


@pytest.mark.end_to_end
def test_ranks_that_share_a_model_find_what_one_finds_of_a_whole_one(tmp_path):
    expected = jobs.findings()
    assert expected.pop("wrong") is False
    for found in expected.values():
        assert found.pop("difference") < 1e-13
    whole = {name: found.pop("scores") for name, found in expected.items() if "scores" in found}
    for got in in_ranks(jobs, "findings", 2, tmp_path):
        assert not isinstance(got, str), got
        assert got.pop("wrong") is False
        for name, found in got.items():
            assert found.pop("difference") < 1e-13, name
            if name in whole:
                torch.testing.assert_close(found.pop("scores"), whole[name], rtol=0, atol=1e-10)
            assert found == expected[name], name
    assert all(found["divided"][-1][1] for name, found in expected.items() if name in whole)
