"""`kill -9` at random moments of real processes: what was committed opens, and nothing else."""

import os
import random
import signal
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
from tests.estimators.small import cross_entropy, model

from .training import batches, falling, plain_loop, recorded_loop, sgd

KILLS = 10
STEPS = 14
ENDLESS = 100_000
KEEP = 6

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
]


def training(folder, **options):
    """A training without end that says on a pipe when it comes to a step."""

    def operation(say):
        net = model().train()
        optimizer = sgd(net)
        schedule = falling(optimizer)
        torch.manual_seed(5)
        with CheckpointRecorder(
            folder, net, optimizer, every=1, keep=KEEP, moments=True, **options
        ) as recorder:
            for step in range(ENDLESS):
                ((inputs, targets),) = batches(1, first=step)
                say()
                optimizer.zero_grad()
                loss = cross_entropy(net(inputs), targets).mean()
                loss.backward()
                recorder.note_loss(loss)
                optimizer.step()
                schedule.step()

    return operation


def killed(operation, at_step: int, share: float) -> bool:
    """Kills a process that does the operation, some share of a step after it came to a step.

    Moments are counted in steps, and not in seconds, so that a slow machine sees as many of them.
    Whether it was still running.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            operation(lambda: os.write(writing, b"!"))
        finally:
            os._exit(0)
    os.close(writing)
    begun = time.perf_counter()
    for _ in range(at_step):
        os.read(reading, 1)
        begun, step_seconds = time.perf_counter(), time.perf_counter() - begun
    time.sleep(share * step_seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(reading)
    return os.WIFSIGNALED(status)


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
        assert killed(training(folder), at_step, generator.uniform(0, 1.5))
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
        killed(training(folder, overwrite=True), 2, share)
        rates = [rate for (rate,) in CheckpointSeries.open(folder).rates]
        assert rates
        assert len({rate < 0.05 for rate in rates}) == 1


def other_rate(net):
    return torch.optim.SGD(net.parameters(), lr=0.011)
