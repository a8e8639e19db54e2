"""`kill -9` at random moments of real processes: what was committed opens, and nothing else."""

import random
import time
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file

from headwater import (
    CheckpointRecorder,
    CheckpointSeries,
    NoCheckpointsError,
    RecordingNotFoundError,
)
from tests.estimators.small import model
from tests.processes import Started

from .endless import KEEP, training
from .training import plain_loop, recorded_loop, sgd

KILLS = 10
STEPS = 14

pytestmark = pytest.mark.end_to_end


def killed(at_step: int, share: float, *args) -> bool:
    """Kills a training some share of a step after it came to a step.

    Moments are counted in steps, and not in seconds, so that a slow machine sees as many of them.
    Whether it was still running.
    """
    process = Started(training, *args)
    begun = time.perf_counter()
    for _ in range(at_step):
        process.hear()
        begun, step_seconds = time.perf_counter(), time.perf_counter() - begun
    time.sleep(share * step_seconds)
    return process.kill()


def committed_steps(folder) -> list[int]:
    """The steps, after every checkpoint was held against a plain loop's."""
    try:
        series = CheckpointSeries.open(folder)
    except (RecordingNotFoundError, NoCheckpointsError):
        return []
    _, history = plain_loop(series.steps[-1] + 1)
    for checkpoint in series:
        before = history[checkpoint.step]
        saved = load_file(checkpoint)
        assert all(torch.equal(saved[key], before.state[key]) for key in before.state)
        assert checkpoint.rates == tuple(before.rates)
        assert checkpoint.moments() == {}
    return series.steps


def names(folder) -> set[str]:
    return {p.name for p in folder.rglob("*") if p.is_file()} - {".lock"}


def test_a_training_that_is_killed_leaves_what_it_committed_and_can_go_on(tmp_path):
    generator = random.Random(20200219)
    outcomes = Counter()
    for number in range(KILLS):
        folder = tmp_path / f"{number}"
        at_step = generator.randrange(1, STEPS)
        assert killed(at_step, generator.uniform(0, 1.5), folder)
        steps = committed_steps(folder)
        assert len(steps) <= KEEP
        if at_step > 1:
            # Whatever was committed before the last step that was heard of.
            assert steps[0] == 0
            assert steps[-1] >= at_step // 2 - 1
        outcomes["some" if steps else "none"] += 1
        outcomes["leftovers"] += names(folder) != names_of(steps)
        # The next recorder finds no lock in its way, and leaves nothing that belongs to no state.
        net = model()
        start = steps[-1] + 1 if steps else 0
        with CheckpointRecorder(
            folder, net, sgd(net), every=1, keep=KEEP, moments=True, start=start
        ):
            pass
        assert committed_steps(folder) == steps
        assert names(folder) == names_of(steps)
    assert outcomes["some"] > KILLS // 2


def names_of(steps) -> set[str]:
    return {"recording.json", *(f"step-{step:09d}.safetensors" for step in steps)}


def test_overwriting_that_is_killed_leaves_either_training_and_never_both(tmp_path):
    for number, share in enumerate([0.1, 0.5, 0.9]):
        folder = tmp_path / f"{number}"
        recorded_loop(folder, 3, optimizer_of=other_rate)
        killed(2, share, folder, True)
        rates = [rate for (rate,) in CheckpointSeries.open(folder).rates]
        assert rates
        assert len({rate < 0.05 for rate in rates}) == 1


def other_rate(net):
    return torch.optim.SGD(net.parameters(), lr=0.011)
