"""Stores of models that are sharded over processes, against those of whole models in one."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest
import torch

from headwater import GradientStore
from tests.distributed import sharded_stores as jobs
from tests.distributed.in_ranks import in_ranks
from tests.distributed.test_store import assert_same

pytestmark = pytest.mark.end_to_end

run = partial(in_ranks, jobs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a whole model has of everything in one process, and of a store that is gone on with."""
    folder = tmp_path_factory.mktemp("one")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield jobs.everything(folder / "stores"), jobs.goes_on(folder / "whole")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A build of which the second of two ranks was killed, and what the ranks said."""
    folder = tmp_path_factory.mktemp("killed")
    return folder / "store", run("killed", 2, folder)


def test_a_rank_that_is_killed_is_named_and_what_was_committed_stays(killed):
    path, (first, second) = killed
    assert second is None
    assert first.startswith("RankError: rank 1 died"), first
    # A turn of one run for each.
    assert json.loads((path / "manifest.json").read_bytes())["batches"] == 4


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_have_the_files_and_answers_of_a_whole_model(killed, size, whole, tmp_path):
    expected, gone_on = whole
    shutil.copytree(killed[0], tmp_path / "killed")
    found = run("everything", size, tmp_path)
    for rank, told in enumerate(found):
        assert not isinstance(told, str), told
        assert_same(told, [expected, gone_on], f"rank {rank}:")
    # Whoever has the whole model reads what those that share one have written, and the reverse.
    name = "recomputed"
    store = GradientStore.open(tmp_path / "stores" / name, jobs.kinds()[name][0])
    store.verify()
    assert_same(jobs.answers(store, name), expected[name][-7:])
    assert not list(store.path.glob(".lock-*"))


def test_a_whole_model_goes_on_with_what_a_sharded_one_has_committed(killed, whole, tmp_path):
    shutil.copytree(killed[0], tmp_path / "store")
    assert_same(jobs.goes_on(tmp_path / "store"), whole[1])


def test_what_one_rank_can_not_do_is_an_error_on_all_and_leaves_model_and_store(tmp_path):
    first, second = run("refused", 2, tmp_path)
    for said in (first, second):
        assert "ask on every rank" in said[0]
        assert said[3].startswith("NonFiniteError: training example 19"), said[3]
        assert "their number is 2 on rank 0 and 3 on rank 1" in said[5]
        assert "the batch size is 3 on rank 0 and 4 on rank 1" in said[6]
        assert said[7] == []
    for place, error in ((1, "NonFiniteError: training example 19"), (2, "ValueError: no row 19")):
        assert second[place].startswith(error), second[place]
        assert first[place].startswith(f"RankError: rank 1 stopped: {error}"), first[place]
    assert first[4].startswith("StoreNotFoundError"), first[4]
    assert second[4].startswith("RankError: rank 0 stopped: StoreNotFoundError"), second[4]
    assert_same(first[8:], second[8:])
