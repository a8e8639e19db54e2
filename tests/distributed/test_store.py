"""Stores that several processes build, change and ask, against those of one."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import torch

from headwater import GradientStore, StoreIncompleteError, StoreLockedError
from headwater.store import StoreFolder
from tests.distributed import store_jobs as jobs
from tests.distributed.in_ranks import in_ranks

pytestmark = pytest.mark.end_to_end


def run(job, size, folder):
    """What every rank got, None of one that was killed; and how long it took."""
    begun = time.monotonic()
    return in_ranks(jobs, job, size, folder), time.monotonic() - begun


def assert_same(found, expected, name=""):
    assert type(found) is type(expected), (name, found, expected)
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, msg=name)
    elif isinstance(expected, dict):
        assert list(found) == list(expected), name
        for key in expected:
            assert_same(found[key], expected[key], f"{name} {key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), name
        for place, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{name} {place}")
    else:
        assert found == expected, name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a single process has of everything, and of the store that is gone on with."""
    folder = tmp_path_factory.mktemp("one")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder, jobs.everything(folder / "stores"), jobs.goes_on(folder / "whole")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """By number of ranks: a build of which a rank was killed, and what its ranks said."""
    found = {}
    for size in (2, 3):
        folder = tmp_path_factory.mktemp("killed")
        found[size] = (folder / "store", *run("killed", size, folder))
    return found


# The last run of the second turn: of two ranks the second has it, of three the first.
@pytest.mark.parametrize(("size", "rank"), [(2, 1), (3, 0)])
def test_a_rank_that_is_killed_stops_the_others_who_name_it(killed, size, rank):
    _, said, seconds = killed[size]
    assert [told is None for told in said] == [place == rank for place in range(size)]
    for told in said:
        assert told is None or told.startswith(f"RankError: rank {rank} died"), told
    assert seconds < 60


@pytest.mark.parametrize("size", [2, 3])
def test_one_process_goes_on_with_what_several_have_committed(killed, size, whole, tmp_path):
    shutil.copytree(killed[size][0], tmp_path / "s")
    with pytest.raises(StoreIncompleteError):
        jobs.asked(tmp_path / "s")
    state = json.loads((tmp_path / "s" / "manifest.json").read_bytes())
    assert state["batches"] == 2 * size
    kept = {one["file"]: (tmp_path / "s" / one["file"]).stat().st_ino for one in state["shards"]}
    assert len(kept) == size
    assert_same(jobs.goes_on(tmp_path / "s"), whole[2])
    assert not list((tmp_path / "s").glob(".lock-*"))
    for name, inode in kept.items():
        assert (tmp_path / "s" / name).stat().st_ino == inode


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_have_the_files_and_answers_of_a_single_process(killed, size, whole, tmp_path):
    folder, expected, gone_on = whole
    # As another number of ranks left it.
    shutil.copytree(killed[5 - size][0], tmp_path / "killed")
    shutil.copytree(folder / "whole", tmp_path / "asked")
    found, _ = run("everything", size, tmp_path)
    for rank, told in enumerate(found):
        assert not isinstance(told, str), told
        assert_same(told, [expected, gone_on, gone_on[1:]], f"rank {rank}:")
    store = GradientStore.open(
        tmp_path / "stores" / "a few batches a shard", jobs.kinds()["a few batches a shard"][0]
    )
    store.verify()
    assert not list(store.path.glob(".lock-*"))


def test_what_one_rank_can_not_do_is_an_error_on_all_of_them(tmp_path):
    (first, second), _ = run("refused", 2, tmp_path)
    for data, ids, *_ in (first, second):
        assert data.startswith("InputError: the ranks were asked different things"), data
        assert "'data'" in data
        assert ids.startswith("InputError: the ranks were asked different things: ids"), ids
    assert second[2].startswith("NonFiniteError"), second[2]
    assert f"training example {jobs.DOOMED}" in second[2]
    assert first[2].startswith("RankError: rank 1 stopped: NonFiniteError"), first[2]
    assert second[3].startswith("NonFiniteError"), second[3]
    assert first[3].startswith("RankError: rank 1 stopped: NonFiniteError"), first[3]
    assert "the ranks were asked different things: ids" in first[4]
    assert not (tmp_path / "data").exists()
    assert first[5] == second[5] == jobs.contents(tmp_path / "whole")
    assert second[6].startswith("InputError: the first rank builds a store that rank 1"), second[6]
    assert first[6].startswith("RankError: rank 1 stopped: InputError"), first[6]
    for told in (first, second):
        assert "what is asked is 'scores' on rank 0 and 'self-influence' on rank 1" in told[7]


def test_nobody_writes_while_a_rank_of_another_job_still_does(tmp_path):
    folder = StoreFolder(tmp_path)
    with folder.writing_shards(3), pytest.raises(StoreLockedError), folder.writing():
        pass
    (tmp_path / ".lock-3").touch()  # as one leaves it that is killed
    with folder.writing():
        assert not (tmp_path / ".lock-3").exists()
    assert not folder.strangers()
