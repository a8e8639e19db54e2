"""A process group is the user's: once destroyed it is gone, or its process ends in an abort."""

import pytest
from torch import distributed as dist

from headwater.distributed import Ranks, ranks


@pytest.fixture
def world():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize("backend", ["gloo", "nccl"])
@pytest.mark.usefixtures("world")
def test_no_group_outlives_its_destruction(backend, monkeypatch):
    """Of nccl's kind a group for the CPU is made beside it; here gloo stands in for that."""
    monkeypatch.setattr(ranks, "_made", None)
    with monkeypatch.context() as patched:
        patched.setattr(dist, "get_backend", lambda *_: backend)
        for _ in range(2):
            Ranks().meet({"what is asked": "the same"})
    looked_at, made = ranks._looked, ranks._made
    assert looked_at is not None
    assert looked_at[0]() is dist.group.WORLD
    held = [looked_at[0], *(made or ())]
    assert len(held) == (1 if backend == "gloo" else 3)
    assert all(group() is not None for group in held)
    dist.destroy_process_group()
    assert all(group() is None for group in held)
