"""Training that is resumed goes on with its recording; another training doesn't."""

import os

import pytest
import torch
from torch import nn

from headwater import (
    CheckpointRecorder,
    CheckpointSeries,
    RecordingExistsError,
    RecordingLockedError,
    RecordingMismatchError,
    RecordingWriteError,
)
from tests.estimators.small import Small, model

from .training import recorded_loop, sgd


def recorder(folder, net=None, **options):
    net = model() if net is None else net
    return CheckpointRecorder(folder, net, sgd(net), **{"every": 2, **options})


def train(folder, steps, **options):
    net = model()
    optimizer = sgd(net)
    with CheckpointRecorder(folder, net, optimizer, **{"every": 2, **options}):
        for _ in range(steps):
            optimizer.step()


def steps_of(folder):
    return CheckpointSeries.open(folder).steps


def test_recording_goes_on_where_training_does(tmp_path):
    train(tmp_path / "run", 5)
    train(tmp_path / "run", 4, start=5)
    assert steps_of(tmp_path / "run") == [0, 2, 4, 6, 8]


def test_checkpoints_of_updates_that_are_taken_anew_are_removed_at_once(tmp_path):
    folder = tmp_path / "run"
    train(folder, 9)
    with recorder(folder, start=4):
        assert steps_of(folder) == [0, 2]
        assert len(list(folder.glob("step-*"))) == 2
    train(folder, 3, start=4)
    assert steps_of(folder) == [0, 2, 4, 6]


def test_what_was_thinned_stays_as_far_apart(tmp_path):
    train(tmp_path / "run", 18, keep=3)
    assert steps_of(tmp_path / "run") == [0, 8, 16]
    train(tmp_path / "run", 11, start=18, keep=5)
    assert steps_of(tmp_path / "run") == [0, 8, 16, 24]
    train(tmp_path / "run", 1, start=29, keep=2)
    assert steps_of(tmp_path / "run") == [0, 16]


def test_a_new_training_does_not_mix_with_an_old_one(tmp_path):
    folder = tmp_path / "run"
    train(folder, 5)
    with pytest.raises(
        RecordingExistsError,
        match=r"a recording of 3 checkpoints, of steps 0 to 4: .*start=, .*overwrite=True",
    ):
        recorder(folder)
    assert steps_of(folder) == [0, 2, 4]
    train(folder, 1, overwrite=True, every=3)
    assert steps_of(folder) == [0]
    assert len(list(folder.glob("step-*"))) == 1


def test_another_model_may_take_the_place_of_one_that_is_to_be_overwritten(tmp_path):
    train(tmp_path / "run", 1)
    net = nn.Linear(2, 2)
    with recorder(tmp_path / "run", net, overwrite=True):
        net.weight.grad = torch.ones(2, 2)
    assert not list((tmp_path / "run").glob("step-*"))


class Wider(Small):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 5)


class Longer(Small):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            Wider().double(),
            r"another model \(Small, and this is a Wider\): 'fc\.weight' is \(3, 4\) of float64 "
            r"there and \(5, 4\) of float64 here; 'fc\.bias' .* or name a new folder",
        ),
        (Longer().double(), r"\(Small, and this is a Longer\): 'scale' is new\. "),
        (Small(), r"'fc1\.weight' is .* float64 there and .* float32 here; .*; and 5 more"),
        (nn.Sequential(nn.Linear(1, 1)), r"'0\.weight' is new; '0\.bias' is new; 'fc1\.weight' is"),
    ],
)
def test_another_model_is_refused_by_what_differs(tmp_path, net, message):
    train(tmp_path / "run", 3)
    with pytest.raises(RecordingMismatchError, match=message):
        recorder(tmp_path / "run", net, start=3)
    train(tmp_path / "run", 1, start=3)  # and nothing is locked


def test_another_distance_is_refused(tmp_path):
    train(tmp_path / "run", 3)
    with pytest.raises(RecordingMismatchError, match="begun with every=2, and this is every=3"):
        recorder(tmp_path / "run", every=3, start=3)


def test_another_optimizer_is_recorded_as_what_it_is(tmp_path):
    recorded_loop(tmp_path / "run", 2)
    net = model()
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    recorded_loop(tmp_path / "run", 1, optimizer_of=lambda _: adam, net=net, start=2)
    series = CheckpointSeries.open(tmp_path / "run", rates="recorded")
    assert [c.optimizer for c in series] == ["SGD", "SGD", "Adam"]
    assert "SGD and Adam" in repr(series)


def test_only_one_recorder_writes(tmp_path):
    with (
        recorder(tmp_path / "run"),
        pytest.raises(RecordingLockedError, match=r"another recorder is writing.*close\(\)"),
    ):
        recorder(tmp_path / "run")
    recorder(tmp_path / "run").close()


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "weights.pt").touch()
    with pytest.raises(RecordingExistsError, match=r"isn't empty \('weights\.pt'\); name a new"):
        recorder(tmp_path, overwrite=True)
    assert (tmp_path / "weights.pt").exists()


def test_checkpoints_whose_manifest_was_lost_are_not_removed(tmp_path):
    train(tmp_path / "run", 3)
    (tmp_path / "run" / "recording.json").unlink()
    with pytest.raises(RecordingExistsError, match=r"'step-000000000\.safetensors'"):
        recorder(tmp_path / "run", overwrite=True)
    assert len(list((tmp_path / "run").glob("step-*"))) == 2


def test_a_recording_without_checkpoints_is_no_obstacle(tmp_path):
    recorder(tmp_path / "run", every=3).close()
    net = nn.Linear(2, 2)
    recorder(tmp_path / "run", net).close()
    recorder(tmp_path / "run", net, start=4).close()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordingWriteError, match="the folder can't be made"):
        recorder(tmp_path / "file" / "run")


@pytest.mark.parametrize("failing", ["step-000000002.safetensors", "recording.json"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_recording_as_it_was(
    tmp_path, monkeypatch, failing
):
    net = model()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = sgd(net)
    sync = os.fsync
    full = False

    def no_room(descriptor):
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if full and failing in name:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", no_room)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=2):
        optimizer.step()
        optimizer.step()
        full = True
        before = net.fc.bias.clone()
        with pytest.raises(
            RecordingWriteError, match=r"can't be written in .*No space left.*is as it was"
        ) as caught:
            optimizer.step()
        assert caught.value.errno == 28
        assert torch.equal(net.fc.bias, before), "an update was taken that isn't recorded"
        assert steps_of(tmp_path / "run") == [0]
        assert not list((tmp_path / "run").glob("*.tmp"))
        assert not list((tmp_path / "run" / ".unfinished").iterdir())
        full = False
        optimizer.step()
    assert steps_of(tmp_path / "run") == [0, 2]
