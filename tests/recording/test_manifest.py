"""A folder that was damaged or is of a newer version is refused, whatever was done to it."""

import hashlib
import json
import random

import pytest

from headwater import (
    CheckpointRecorder,
    CheckpointSeries,
    HeadwaterError,
    RecordingCorruptError,
    RecordingVersionError,
)
from headwater.checkpoints.recording.manifest import Manifest, _canonical
from tests.estimators.small import model

from .training import recorded_loop, sgd


@pytest.fixture
def folder(tmp_path):
    recorded_loop(tmp_path / "run", 3, moments=True)
    return tmp_path / "run"


def changed(folder, change, *, signed=True):
    path = folder / "recording.json"
    contents = json.loads(path.read_bytes())
    del contents["checksum"]
    change(contents)
    if signed:
        contents["checksum"] = hashlib.sha256(_canonical(contents)).hexdigest()
    path.write_text(json.dumps(contents))


def test_the_manifest_reads_back_as_it_was_written(folder):
    data = (folder / "recording.json").read_bytes()
    assert Manifest.from_bytes(data).to_bytes() == data


@pytest.mark.parametrize(("key", "value"), [("version", 3), ("format", "another")])
def test_another_format_is_refused_by_readers_and_writers(folder, key, value):
    changed(folder, lambda contents: contents.update({key: value}))
    net = model()
    for use in (
        CheckpointSeries.open,
        lambda path: CheckpointRecorder(path, net, sgd(net), every=1),
    ):
        with pytest.raises(RecordingVersionError, match=r"reads 'headwater-recording' version 1"):
            use(folder)


def test_a_changed_manifest_is_refused(folder):
    text = (folder / "recording.json").read_text()
    (folder / "recording.json").write_text(text.replace('"lr": 0.3', '"lr": 0.4'))
    with pytest.raises(RecordingCorruptError, match="was changed after it was written"):
        CheckpointSeries.open(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["checkpoints"][0]["weights"].update(file="../step-0.safetensors"), "no name"),
        (lambda c: c["checkpoints"][0]["moments"].update(file="/etc/passwd"), "'/etc/passwd'"),
        (lambda c: c["checkpoints"][0].update(layout=1), "the groups of step 0"),
        (lambda c: c["checkpoints"][0].update(settings=[]), "the groups of step 0"),
        (lambda c: c["checkpoints"][0].pop("step"), "is damaged"),
        (lambda c: c.update(another=1), "is damaged"),
        (lambda c: c.update(checkpoints=3), "is damaged"),
    ],
)
def test_what_no_recorder_writes_is_refused(folder, change, message):
    changed(folder, change)
    with pytest.raises(RecordingCorruptError, match=message):
        CheckpointSeries.open(folder)


def test_any_damage_is_an_error_of_ours(folder):
    path = folder / "recording.json"
    data = path.read_bytes()
    generator = random.Random(3)
    for _ in range(60):
        place = generator.randrange(len(data))
        flipped = bytes([data[place] ^ 1 << generator.randrange(8)])
        path.write_bytes(data[:place] + flipped + data[place + 1 :])
        try:
            series = CheckpointSeries.open(folder)
        except HeadwaterError:
            continue
        # A blank in place of another is no damage.
        assert len(series) == 3
    for length in (0, 1, 100, len(data) - 3):
        path.write_bytes(data[:length])
        with pytest.raises(RecordingCorruptError, match="is damaged"):
            CheckpointSeries.open(folder)


def test_files_that_are_missing_or_cut_off_are_named(folder):
    weights = folder / "step-000000001.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1])
    with pytest.raises(
        RecordingCorruptError, match=rf"step-000000001.* has {len(data) - 1} bytes and not the"
    ):
        CheckpointSeries.open(folder)
    weights.unlink()
    with pytest.raises(RecordingCorruptError, match=r"step-000000001\.safetensors is missing"):
        CheckpointSeries.open(folder)
    weights.write_bytes(data)
    (folder / "moments" / "step-000000002.safetensors").unlink()
    with pytest.raises(RecordingCorruptError, match=r"moments/step-000000002\.safetensors is miss"):
        CheckpointSeries.open(folder)
