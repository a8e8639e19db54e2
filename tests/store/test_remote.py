"""A store at a URL: copied once, checked byte for byte, sent whole or not at all."""

import contextlib
import functools
import http.server
import shutil
import sys
import threading
import uuid

import fsspec
import pytest
import torch

from headwater import (
    GradientStore,
    InputError,
    MissingDependencyError,
    Projected,
    StoreCorruptError,
    StoreMismatchError,
    StoreNotFoundError,
    StoreWriteError,
    TracInCP,
)
from headwater.estimators.stored import StoreFiles
from headwater.estimators.stored import writing as store_writing
from headwater.store import remote
from tests.estimators.small import (
    QUERIES,
    RATES,
    assert_close,
    cross_entropy,
    expected_scores,
    make,
    model,
    states,
)

FILES = fsspec.filesystem("memory")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store_writing, "SHARD_BYTES", 1)
    return tmp_path / "cache"


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/grads"


@pytest.fixture
def fetched(monkeypatch):
    """The names of the files that were fetched."""
    names = []
    read = type(FILES).cat_file

    def noted(self, path, *args, **kwargs):
        names.append(path.rpartition("/")[2])
        return read(self, path, *args, **kwargs)

    monkeypatch.setattr(type(FILES), "cat_file", noted)
    return names


def build(place, **options):
    return GradientStore.build(make(), place, dtype="float64", **options)


def names_at(url):
    return sorted(path.rpartition("/")[2] for path in FILES.ls(url, detail=False))


def test_what_is_built_at_a_url_answers_from_there(url, cache, fetched):
    store = build(url)
    assert names_at(url) == ["manifest.json", *(f"shard-{n:06d}.safetensors" for n in range(3))]
    assert_close(store.scores(*QUERIES), expected_scores())
    again = GradientStore.open(url, make())
    assert torch.equal(again.scores(*QUERIES), store.scores(*QUERIES))
    # The copy that the first of them made served the second, too.
    assert len(fetched) == 3
    assert len(list(cache.rglob("*.safetensors"))) == 3
    again.verify()
    files = StoreFiles(url)
    assert files.info()["complete"]
    assert files.ids == list(range(7))


def test_its_url_stands_in_for_training_data(url):
    build(url)
    estimator = TracInCP(model(), url, states(), loss_fn=cross_entropy, learning_rates=RATES)
    assert_close(estimator.influence(*QUERIES), expected_scores())


def test_a_finished_store_is_returned_and_another_refused(url, fetched):
    build(url)
    fetched.clear()
    assert_close(build(url).scores(*QUERIES), expected_scores())
    assert not fetched
    with pytest.raises(StoreMismatchError, match="form"):
        build(url, form=Projected(8, seed=0))
    assert_close(GradientStore.open(url, make()).scores(*QUERIES), expected_scores())


def test_of_a_store_that_grew_only_what_is_new_is_fetched(url, fetched, tmp_path, cache):
    store = build(url)
    fetched.clear()
    local = tmp_path / "local"
    shutil.copytree(store.path, local)
    grown = GradientStore.open(local, make())
    grown.append(torch.utils.data.TensorDataset(*QUERIES))
    grown.delete([0])
    for path in local.iterdir():
        FILES.pipe_file(f"{url}/{path.name}", path.read_bytes())
    opened = GradientStore.open(url, make())
    assert fetched == ["shard-000003.safetensors"]
    assert torch.equal(opened.scores(*QUERIES), grown.scores(*QUERIES))
    # One that was opened before shows what it showed, though its copy is gone.
    assert_close(store.scores(*QUERIES), expected_scores())
    assert len(list(cache.rglob("manifest.json"))) == 1


def test_a_copy_is_not_written_to(url):
    store = build(url)
    for write in (lambda: store.delete([0]), store.compact, lambda: StoreFiles(url).delete([0])):
        with pytest.raises(StoreWriteError, match="copy of a store at a URL"):
            write()
    assert len(GradientStore.open(url, make())) == 7


@pytest.mark.parametrize("how", ["changed", "cut off", "missing"])
def test_a_shard_that_is_not_the_one_that_was_written_is_refused(url, how, cache):
    build(url)
    shutil.rmtree(cache)
    shard = f"{url}/shard-000001.safetensors"
    data = FILES.cat_file(shard)
    FILES.rm(shard)
    if how != "missing":
        changed = data[:-1] if how == "cut off" else data[:-1] + bytes([data[-1] ^ 1])
        FILES.pipe_file(shard, changed)
    with pytest.raises(StoreCorruptError, match="shard-000001"):
        GradientStore.open(url, make())
    # Nothing of the failed copy is taken for the store.
    FILES.pipe_file(shard, data)
    assert_close(GradientStore.open(url, make()).scores(*QUERIES), expected_scores())


def test_a_place_without_a_store_and_one_that_nobody_knows():
    with pytest.raises(StoreNotFoundError, match="no gradient store at memory://nothing/here"):
        GradientStore.open("memory://nothing/here", make())
    with pytest.raises(StoreNotFoundError, match="magic://x is no place"):
        GradientStore.open("magic://x", make())


def test_without_fsspec_or_the_package_for_a_url_it_is_said_what_to_install(monkeypatch):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingDependencyError, match="Install s3fs"):
        GradientStore.open("s3://bucket/grads", make())
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'headwater\[remote\]'"):
        GradientStore.open("s3://bucket/grads", make())


def test_a_build_that_could_not_be_sent_is_kept_and_sent_by_the_next(url, monkeypatch):
    put = type(FILES).pipe_file
    left = [2]

    def broken(self, path, data, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the line is dead")
        put(self, path, data, **kwargs)

    monkeypatch.setattr(type(FILES), "pipe_file", broken)
    with pytest.raises(StoreWriteError, match=r"line is dead.*building again sends it"):
        build(url)
    with pytest.raises(StoreNotFoundError):
        GradientStore.open(url, make())
    monkeypatch.setattr(type(FILES), "pipe_file", put)

    def no_more(*args, **kwargs):
        raise AssertionError("the gradients were computed again")

    monkeypatch.setattr(store_writing, "shard_contents", no_more)
    assert_close(build(url).scores(*QUERIES), expected_scores())
    assert not any(name.endswith(".tmp") for name in names_at(url))


def test_a_cache_that_cannot_be_written_is_named(url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADWATER_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreWriteError, match="HEADWATER_CACHE"):
        GradientStore.open(url, make())


def test_several_ranks_are_refused(url, monkeypatch):
    monkeypatch.setattr("headwater.estimators.stored.beginning.present", lambda: object())
    with pytest.raises(InputError, match="built by one process"):
        build(url)


def test_a_store_behind_a_web_server(tmp_path):
    pytest.importorskip("aiohttp")
    build(tmp_path / "served" / "grads")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/grads"
        assert_close(GradientStore.open(url, make()).scores(*QUERIES), expected_scores())
        with pytest.raises(StoreNotFoundError):
            GradientStore.open(f"http://127.0.0.1:{server.server_port}/none", make())
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        with contextlib.suppress(ImportError):
            fsspec.filesystem("http").clear_instance_cache()


@pytest.mark.parametrize(
    ("place", "is_one"),
    [
        ("s3://bucket/grads", True),
        ("file:///data/grads", True),
        ("zip://grads::s3://bucket/a.zip", True),
        ("grads", False),
        ("/data/grads", False),
        ("C:\\grads", False),
        ("C:/grads", False),
        (None, False),
    ],
)
def test_urls_are_told_from_folders(place, is_one):
    assert remote.is_url(place) is is_one


def test_a_file_url_is_a_store_too(tmp_path):
    store = build(f"file://{tmp_path}/far/grads")
    assert_close(store.scores(*QUERIES), expected_scores())
    assert_close(
        GradientStore.open(tmp_path / "far" / "grads", make()).scores(*QUERIES), expected_scores()
    )
