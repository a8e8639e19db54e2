"""`kill -9` at random moments of real processes: a store opens as before or as after."""

import random
import shutil
import time
from collections import Counter

import pytest
import torch

from headwater import GradientStore, StoreIncompleteError, StoreNotFoundError
from headwater.estimators.stored import writing as store_writing
from tests.estimators.small import QUERIES, N, make
from tests.processes import Started

from .changes import append, build, building, changing, delete, delete_and_compact

ROUNDS = 50

pytestmark = pytest.mark.end_to_end


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store_writing, "SHARD_BYTES", 1)


def seconds(operation, *args) -> float:
    """How long the operation takes in a process of its own, from its beginning."""
    process = Started(operation, *args)
    process.hear()
    begun = time.perf_counter()
    process.end()
    return time.perf_counter() - begun


def killed(after: float, operation, *args) -> None:
    """Kills the operation some seconds after its beginning, if it is still running."""
    process = Started(operation, *args)
    process.hear()
    time.sleep(after)
    process.kill()


def contents(path):
    return {p.name: p.read_bytes() for p in path.iterdir() if p.name != ".lock"}


def moments(duration: float):
    generator = random.Random(20200219)
    return [generator.uniform(0, 1.1 * duration) for _ in range(ROUNDS)]


def test_an_interrupted_build_goes_on_and_ends_byte_for_byte_like_any_other(tmp_path):
    build(tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    assert len(expected) == N + 1

    outcomes = Counter()
    duration = seconds(building, tmp_path / "timed")
    for number, moment in enumerate(moments(duration)):
        path = tmp_path / f"{number}"
        killed(moment, building, path)
        try:
            GradientStore.open(path, make(batch_size=1)).verify()
            outcomes["whole"] += 1
        except StoreNotFoundError:
            outcomes["nothing"] += 1
        except StoreIncompleteError:
            outcomes["begun"] += 1
        build(path)
        assert contents(path) == expected
        shutil.rmtree(path)
    assert outcomes["begun"] > ROUNDS // 10
    assert sum(outcomes.values()) == ROUNDS


@pytest.mark.parametrize("change", [append, delete, delete_and_compact])
def test_a_store_is_as_before_or_as_after_a_change_that_was_killed(tmp_path, change):
    build(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    change(GradientStore.open(tmp_path / "after", make(batch_size=1)))
    states = {
        name: GradientStore.open(tmp_path / name, make(batch_size=1)).scores(*QUERIES)
        for name in ("before", "after")
    }

    shutil.copytree(tmp_path / "before", tmp_path / "timed")
    duration = seconds(changing, tmp_path / "timed", change)
    outcomes = Counter()
    for number, moment in enumerate(moments(duration)):
        path = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "before", path)
        killed(moment, changing, path, change)
        store = GradientStore.open(path, make(batch_size=1))
        store.verify()
        scores = store.scores(*QUERIES)
        (state,) = (name for name, expected in states.items() if torch.equal(scores, expected))
        outcomes[state] += 1
        # The next writer finds no lock in its way, and leaves nothing that belongs to no state.
        store.compact()
        files = {p.name for p in path.iterdir()} - {".lock", "manifest.json"}
        assert files == {entry.file for entry in store._manifest.shards}
        assert torch.equal(store.scores(*QUERIES), states[state])
        shutil.rmtree(path)
    assert sum(outcomes.values()) == ROUNDS
    assert outcomes["before"] > 0
