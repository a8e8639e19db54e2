"""`kill -9` at random moments of real processes: a store opens as before or as after."""

import os
import random
import shutil
import signal
import time
from collections import Counter

import pytest
import torch
from torch.utils.data import TensorDataset

from headwater import GradientStore, StoreIncompleteError, StoreNotFoundError
from headwater.estimators.stored import writing as store_writing
from tests.estimators.small import QUERIES, N, labels, make, rows

ROUNDS = 50
MORE = TensorDataset(rows(11, 30, 5), labels(11, 31))

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store_writing, "SHARD_BYTES", 1)


def forked(operation) -> tuple[int, int]:
    """A process that does the operation; its id, and a pipe that says when it begins."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        operation(lambda: os.write(writing, b"!"))
    finally:
        os._exit(0)


def seconds(operation) -> float:
    """How long the operation takes in a process of its own, from its beginning."""
    pid, reading = forked(operation)
    os.read(reading, 1)
    begun = time.perf_counter()
    os.waitpid(pid, 0)
    os.close(reading)
    return time.perf_counter() - begun


def killed(operation, after: float) -> bool:
    """Kills the operation some seconds after its beginning; whether it was still running."""
    pid, reading = forked(operation)
    os.read(reading, 1)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(reading)
    return os.WIFSIGNALED(status)


def contents(path):
    return {p.name: p.read_bytes() for p in path.iterdir() if p.name != ".lock"}


def moments(duration: float):
    generator = random.Random(20200219)
    return [generator.uniform(0, 1.1 * duration) for _ in range(ROUNDS)]


def build(path):
    return GradientStore.build(make(batch_size=1), path)


def test_an_interrupted_build_goes_on_and_ends_byte_for_byte_like_any_other(tmp_path):
    build(tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    assert len(expected) == N + 1

    def building(path):
        def operation(begin):
            begin()
            build(path)

        return operation

    outcomes = Counter()
    duration = seconds(building(tmp_path / "timed"))
    for number, moment in enumerate(moments(duration)):
        path = tmp_path / f"{number}"
        killed(building(path), moment)
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


def append(store):
    store.append(MORE)


def delete(store):
    store.delete([0, 3, N - 1])


def delete_and_compact(store):
    delete(store)
    store.compact()


@pytest.mark.parametrize("change", [append, delete, delete_and_compact])
def test_a_store_is_as_before_or_as_after_a_change_that_was_killed(tmp_path, change):
    build(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    change(GradientStore.open(tmp_path / "after", make(batch_size=1)))
    states = {
        name: GradientStore.open(tmp_path / name, make(batch_size=1)).scores(*QUERIES)
        for name in ("before", "after")
    }

    def changing(path):
        def operation(begin):
            store = GradientStore.open(path, make(batch_size=1))
            begin()
            change(store)

        return operation

    shutil.copytree(tmp_path / "before", tmp_path / "timed")
    duration = seconds(changing(tmp_path / "timed"))
    outcomes = Counter()
    for number, moment in enumerate(moments(duration)):
        path = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "before", path)
        killed(changing(path), moment)
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
