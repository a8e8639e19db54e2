"""Damaged, foreign and hostile files: one named error each, and nothing read outside."""

import errno
import json
import os
import resource
import shutil
import signal
import struct
from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import (
    GradientStore,
    Projected,
    StoreCorruptError,
    StoreError,
    StoreIncompleteError,
    StoreLockedError,
    StoreMismatchError,
    StoreNotFoundError,
    StoreUnsafeError,
    StoreVersionError,
    StoreWriteError,
)
from headwater.estimators.stored import writing as store_writing
from headwater.store import Manifest, StoreFolder
from tests.estimators.small import QUERIES, TRAINING, cross_entropy, labels, make, rows, states

MORE = TensorDataset(rows(5, 30, 5), labels(5, 31))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store_writing, "SHARD_BYTES", 1)


@pytest.fixture
def path(tmp_path):
    GradientStore.build(make(), tmp_path / "s")
    return tmp_path / "s"


def shards(path):
    return sorted(path.glob("shard-*"))


def reopen(path, **options):
    return GradientStore.open(path, make(**options))


def test_a_store_that_is_not_there(tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"there is no gradient store at .*none"):
        reopen(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        reopen(tmp_path)


def test_a_folder_of_something_else_is_not_built_in(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match=r"is no gradient store and isn't empty .*thesis"):
        GradientStore.build(make(), tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.suffix] == ["thesis.txt"]


def test_files_of_others_in_a_store_are_left_alone(path):
    (path / "notes.tmp").write_text("mine")
    store = reopen(path)
    store.delete([1])
    store.compact()
    assert (path / "notes.tmp").read_text() == "mine"


def test_what_a_killed_writer_left_before_the_first_state_is_no_obstacle(tmp_path):
    (tmp_path / "manifest.json.tmp").write_text("{")
    GradientStore.build(make(), tmp_path)
    assert not (tmp_path / "manifest.json.tmp").exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_shard_that_was_cut_off(path, share):
    whole = shards(path)[1].read_bytes()
    shards(path)[1].write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(StoreCorruptError, match=r"shard-000001.safetensors has \d+ bytes and not"):
        reopen(path)


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 0x10
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("place", [0, 3, 7, 8, 60])
def test_a_flipped_bit_in_a_header_is_seen_on_opening(path, place):
    flip(shards(path)[0], place)
    with pytest.raises(StoreCorruptError, match=r"shard-000000"):
        reopen(path)


def test_a_flipped_bit_among_the_numbers_is_seen_by_verify(path):
    flip(shards(path)[2], -9)
    store = reopen(path)
    with pytest.raises(StoreCorruptError, match=r"shard-000002.* bytes on disk changed"):
        store.verify()


def test_flipped_bits_in_the_manifest_never_pass(path):
    manifest = path / "manifest.json"
    whole = manifest.read_bytes()
    expected = reopen(path).scores(*QUERIES)
    for place in range(0, len(whole), 37):
        flip(manifest, place)
        # Blanks between the parts may change to another blank, and nothing else.
        with suppress(StoreError):
            assert torch.equal(reopen(path).scores(*QUERIES), expected)
        manifest.write_bytes(whole)


def test_swapped_shards(path):
    first, second = shards(path)[:2]
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    with pytest.raises(StoreCorruptError, match=r"shard-000000.* changed places with another"):
        reopen(path)


def test_a_missing_shard(path):
    shards(path)[1].unlink()
    with pytest.raises(StoreCorruptError, match=r"shard-000001.safetensors is missing"):
        reopen(path)


def test_the_manifest_of_another_run(path, tmp_path):
    other = tmp_path / "other"
    GradientStore.build(make(learning_rates=[0.2, 0.05]), other)
    shutil.copy(other / "manifest.json", path / "manifest.json")
    with pytest.raises(StoreMismatchError, match="learning_rates"):
        reopen(path)
    with pytest.raises(StoreCorruptError, match=r"shard-000000"):
        reopen(path, learning_rates=[0.2, 0.05])


def rewritten(path, change):
    """The manifest, changed by someone who knows how to make its checksum right."""
    manifest = StoreFolder(path).read_manifest()
    contents = json.loads(manifest.to_bytes())
    change(contents)
    entries = [{**e, "deleted": tuple(e["deleted"])} for e in contents["shards"]]
    fields = {k: v for k, v in contents.items() if k not in ("format", "version", "checksum")}
    from headwater.store.manifest import ShardEntry

    fields.update(shards=tuple(ShardEntry(**e) for e in entries), weights=tuple(fields["weights"]))
    (path / "manifest.json").write_bytes(Manifest(**fields).to_bytes())


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/b", "shard-1.txt"])
def test_a_path_out_of_the_folder_is_not_followed(path, name):
    rewritten(path, lambda contents: contents["shards"][0].update(file=name))
    with pytest.raises(StoreUnsafeError, match="which is no name of a shard within the folder"):
        reopen(path)


def test_links_are_not_followed(path, tmp_path):
    shard = shards(path)[0]
    shutil.move(shard, tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnsafeError, match="is a link"):
        reopen(path)
    manifest = path / "manifest.json"
    shutil.move(manifest, tmp_path / "manifest")
    manifest.symlink_to(tmp_path / "manifest")
    with pytest.raises(StoreUnsafeError, match="is a link"):
        reopen(path)


def test_huge_declared_sizes_take_no_memory(path):
    shard = shards(path)[0]
    data = shard.read_bytes()
    shard.write_bytes(struct.pack("<Q", 2**62) + data[8:])
    with pytest.raises(StoreCorruptError, match="declares a header larger than itself"):
        reopen(path)
    shard.write_bytes(data)
    rewritten(path, lambda contents: contents["shards"][0].update(nbytes=2**60))
    with pytest.raises(StoreCorruptError, match="bytes and not the 1152921504606846976"):
        reopen(path)
    rewritten(path, lambda contents: contents["shards"][0].update(nbytes=len(data), rows=2**60))
    with pytest.raises(StoreCorruptError, match=r"shard-000000.* has not the examples"):
        reopen(path)


def test_a_newer_version_and_no_manifest_at_all(path):
    manifest = path / "manifest.json"
    contents = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**contents, "version": 2}))
    with pytest.raises(StoreVersionError, match=r"version 2; this headwater reads .* version 1"):
        reopen(path)
    for damaged in (b"", b"{", b"[]", b'"text"', b"{}", b"\xff\xfe", b"[" * 100_000):
        manifest.write_bytes(damaged)
        with pytest.raises(StoreCorruptError, match=r"manifest.json is damaged"):
            reopen(path)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("checkpoints", {"checkpoints": states()[::-1]}),
        ("checkpoints", {"checkpoints": states()[:1], "learning_rates": [0.3]}),
        ("learning_rates", {"learning_rates": [0.3, 0.08]}),
        ("selection", {"layers": ["fc"]}),
        ("loss", {"loss_fn": nn.CrossEntropyLoss(reduction="none")}),
        ("data", {"influence_src_dataset": TensorDataset(TRAINING[0] + 1, TRAINING[1])}),
        ("data", {"influence_src_dataset": TensorDataset(*(part[:-1] for part in TRAINING))}),
    ],
)
def test_what_does_not_match_is_named(path, field, options):
    with pytest.raises(StoreMismatchError, match=rf"field '{field}'.* in the store and .* here"):
        reopen(path, **options)
    with pytest.raises(StoreMismatchError, match=rf"field '{field}'"):
        GradientStore.build(make(**options), path)


def test_a_build_of_another_form_or_dtype_does_not_go_on(path):
    for options in ({"form": Projected(3)}, {"form": "materialised"}, {"dtype": "float16"}):
        field = next(iter(options))
        with pytest.raises(StoreMismatchError, match=f"field '{field}'"):
            GradientStore.build(make(), path, **options)
    assert GradientStore.build(make(), path).ids == reopen(path).ids


class Interrupted(Exception):
    pass


class Stops:
    """A dataset whose fifth example can be read once, for the fingerprint, while that lasts."""

    stopping = True
    reads = 0

    def __len__(self):
        return len(TRAINING[0])

    def __getitem__(self, index):
        self.reads += index == 5
        if self.stopping and self.reads > 1:
            raise Interrupted
        return tuple(part[index] for part in TRAINING)


def test_an_interrupted_build_is_said_and_goes_on(tmp_path):
    dataset = Stops()
    estimator = make(influence_src_dataset=dataset, batch_size=1)
    with pytest.raises(Interrupted):
        GradientStore.build(estimator, tmp_path / "s")
    dataset.stopping = False
    with pytest.raises(StoreIncompleteError, match="interrupted after 5 examples"):
        GradientStore.open(tmp_path / "s", estimator)
    GradientStore.build(estimator, tmp_path / "s")
    GradientStore.build(make(batch_size=1), tmp_path / "whole")
    for file in (tmp_path / "whole").glob("[ms]*"):
        assert file.read_bytes() == (tmp_path / "s" / file.name).read_bytes()


def test_a_second_writer_is_refused_and_readers_see_the_old_state(path):
    one, reader = reopen(path), reopen(path)
    before = reader.scores(*QUERIES)
    with StoreFolder(path).writing():
        for write in (one.compact, lambda: one.delete([1]), lambda: one.append(MORE)):
            with pytest.raises(StoreLockedError, match="another process is writing"):
                write()
        with pytest.raises(StoreLockedError):
            GradientStore.build(make(), path)
        assert torch.equal(reader.scores(*QUERIES), before)
    one.delete([1, 2])
    one.append(MORE)
    one.compact()
    assert torch.equal(reader.scores(*QUERIES), before)
    assert reopen(path).ids == one.ids


def test_a_full_disk_is_a_clear_error_and_leaves_the_store_as_it_was(path):
    store = reopen(path)
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # A real error of the system call, as a full disk gives it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(StoreWriteError, match="the store is as it was") as caught:
            store.append(MORE)
        with pytest.raises(StoreWriteError):
            store.delete([1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.errno == errno.EFBIG
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before
    assert reopen(path).ids == store.ids


def test_a_store_that_would_not_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    from headwater.estimators.stored import gradient_store

    monkeypatch.setattr(gradient_store, "free_bytes", lambda path: 100)
    with pytest.raises(StoreWriteError, match=r"would take .* MB for 7 examples"):
        GradientStore.build(make(), tmp_path / "s")
    assert not shards(tmp_path / "s")


def test_the_size_is_predicted(tmp_path, capsys):
    store = GradientStore.build(make(), tmp_path / "s", show_progress=True)
    said = capsys.readouterr().err
    assert "MB for 7 examples" in said
    assert "store s" in said
    assert store.info()["bytes_per_example"] > 0
    assert os.listdir(tmp_path / "s")
    assert cross_entropy is not None
