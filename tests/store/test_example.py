"""A store that an earlier headwater wrote stays readable."""

import torch
from safetensors import safe_open

from headwater import GradientStore

from .example import COUNT, FOLDER, QUERIES, estimator

IDS = ["row 0", "row 1", "row 3", "row 4", "row 5", "more 0", "more 1"]


def test_the_stored_example_opens_and_has_the_scores_of_its_run():
    store = GradientStore.open(FOLDER, estimator())
    store.verify()
    assert store.ids == IDS
    expected = estimator().influence(*QUERIES)[:, [0, 1, 3, 4, 5]]
    scores = store.scores(*QUERIES)
    assert scores.shape == (2, len(IDS))
    torch.testing.assert_close(scores[:, :5], expected, rtol=3e-3, atol=1e-4)
    assert store.info()["deleted_but_on_disk"] == 1
    assert COUNT == 6


def test_its_shards_are_files_of_safetensors():
    for path in FOLDER.glob("shard-*"):
        with safe_open(path, framework="pt") as shard:
            assert list(shard.metadata()) == ["headwater"]
            assert "ordinals" in shard.keys()  # noqa: SIM118
