"""Hugging Face's streaming datasets, of several files, have the scores of the rows in memory."""

import json

import pytest
import torch
from torch.utils.data import DataLoader

from headwater import GradientStore
from tests.estimators.small import (
    QUERIES,
    TRAINING,
    N,
    assert_close,
    expected_scores,
    expected_self_influence,
    make,
)
from tests.oracles import tracin

datasets = pytest.importorskip("datasets", reason="needs datasets: pip install datasets")

# The rows of each file: not as many, and none a multiple of the batch size.
SHARDS = (4, 1, 2)


def stacked(rows):
    inputs = torch.tensor([row["x"] for row in rows], dtype=torch.float64)
    return inputs, torch.tensor([row["y"] for row in rows])


@pytest.fixture(params=["json", "parquet"])
def stream(request, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    inputs, targets = TRAINING
    files, start = [], 0
    for number, size in enumerate(SHARDS):
        rows = [{"x": inputs[n].tolist(), "y": int(targets[n])} for n in range(start, start + size)]
        path = tmp_path / f"part-{number}.{request.param}"
        if request.param == "json":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        else:
            datasets.Dataset.from_list(rows).to_parquet(str(path))
        files.append(str(path))
        start += size
    assert start == N
    return datasets.load_dataset(request.param, data_files=files, split="train", streaming=True)


@pytest.mark.parametrize("budget", ["1GB", 2400, 200], ids=["resident", "by checkpoint", "spans"])
def test_a_streaming_dataset_has_the_scores_of_its_rows(stream, budget):
    estimator = make(influence_src_dataset=stream, collate_fn=stacked, memory_budget=budget)
    assert_close(estimator.influence(*QUERIES), expected_scores())
    assert_close(estimator.influence(), expected_self_influence())
    top = estimator.influence(*QUERIES, k=3)
    assert torch.equal(top.indices, tracin.top_k(expected_scores(), 3)[0])


def test_a_loader_of_a_streaming_dataset_and_one_with_a_map_do_too(stream):
    for data in (
        DataLoader(stream, batch_size=2, collate_fn=stacked),
        DataLoader(stream.map(lambda row: {"x": row["x"], "y": row["y"]}), 5, collate_fn=stacked),
    ):
        assert_close(make(influence_src_dataset=data).influence(*QUERIES), expected_scores())


def test_a_store_of_a_streaming_dataset(stream, tmp_path):
    estimator = make(influence_src_dataset=stream, collate_fn=stacked)
    store = GradientStore.build(estimator, tmp_path / "store", dtype="float64")
    assert_close(store.scores(*QUERIES), expected_scores())
    assert_close(
        GradientStore.open(tmp_path / "store", estimator).scores(*QUERIES), expected_scores()
    )
