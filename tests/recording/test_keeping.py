"""`keep` bounds how many checkpoints remain, and what remains is spread over all of training."""

import pytest
import torch
from safetensors.torch import load_file

from headwater import CheckpointSeries
from headwater.checkpoints.recording.thinning import thinned_stride

from .training import recorded_loop


@pytest.mark.parametrize("keep", [2, 3, 4, 7])
@pytest.mark.parametrize("every", [1, 5])
def test_what_remains_is_even_and_begins_with_the_first(keep, every):
    stride, kept = every, []
    for step in range(0, 200 * every, every):
        if step % stride:
            continue
        stride = thinned_stride([*kept, step], stride, keep)
        kept = [s for s in [*kept, step] if s % stride == 0]
        assert kept == list(range(0, kept[-1] + 1, stride))
        assert len(kept) <= keep
        # The newest is never further behind than one distance.
        assert step - kept[-1] < stride
        if step >= keep * every:
            assert len(kept) >= keep / 2


def test_without_a_bound_all_remain():
    assert thinned_stride(range(0, 1000, 10), 10, None) == 10


def test_files_are_those_that_remain(tmp_path):
    folder = tmp_path / "run"
    recorded_loop(folder, 30, every=2, keep=4, moments=True)
    series = CheckpointSeries.open(folder)
    assert series.steps == [0, 8, 16, 24]
    names = [f"step-{step:09d}.safetensors" for step in series.steps]
    assert sorted(path.name for path in folder.glob("step-*")) == names
    assert sorted(path.name for path in (folder / "moments").iterdir()) == names


def test_who_may_read_the_manifest_may_read_the_weights(tmp_path):
    recorded_loop(tmp_path / "run", 1, moments=True)
    files = [path for path in (tmp_path / "run").rglob("*.*") if path.name != ".lock"]
    assert len(files) == 3
    assert len({path.stat().st_mode for path in files}) == 1


def test_a_checkpoint_has_the_same_weights_whatever_else_is_kept(tmp_path):
    recorded_loop(tmp_path / "all", 9)
    recorded_loop(tmp_path / "some", 9, keep=3)
    every_one = {c.step: c for c in CheckpointSeries.open(tmp_path / "all")}
    some = CheckpointSeries.open(tmp_path / "some")
    assert some.steps == [0, 4, 8]
    for checkpoint in some:
        same = every_one[checkpoint.step]
        weights = load_file(same)
        assert all(torch.equal(weights[key], w) for key, w in load_file(checkpoint).items())
        assert checkpoint.rates == same.rates
