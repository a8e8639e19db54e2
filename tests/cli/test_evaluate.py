"""`headwater evaluate`: methods judged by training again."""

import json

import numpy as np
import pytest
import torch

from headwater.cli.given_scores import read_scores
from headwater.errors import InputError, NonFiniteError

FEW = ["--subsets", "4", "--queries", "0:6", "--no-progress"]

TRAIN = """
def train(dataset, seed):
    torch.manual_seed(seed)
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for inputs, targets in DataLoader(dataset, batch_size=10):
        optimizer.zero_grad()
        loss_fn(net(inputs), targets).mean().backward()
        optimizer.step()
    return net


checkpoints ="""

RECIPE = """
from headwater.evaluation import Recipe

training = Recipe(epochs=3, batch_size=10, learning_rate=0.5)
checkpoints ="""


def test_methods_are_judged_and_the_bank_is_kept(headwater, started, tmp_path):
    bank = tmp_path / "bank"
    arguments = ["evaluate", started, *FEW, "--bank", bank]
    status, out, err = headwater(*arguments, "--out", "table.md")
    assert status == 0, err
    for word in ("TracIn, last layer", "random", "4 subsets of 0.5 of 1,500", "Ceiling: "):
        assert word in " ".join(out.split())
    table = (tmp_path / "table.md").read_text()
    assert "| method | LDS | from | to | seconds |" in table
    before = {path: path.stat().st_mtime_ns for path in bank.glob("part-*")}
    status, out, err = headwater(*arguments, "--methods", "random,tracin", "--json")
    assert status == 0, err
    rows = json.loads(out)["rows"]
    assert [row["method"] for row in rows] == ["random", "TracIn"]
    assert all(-1 <= row["from"] <= row["to"] <= 1 for row in rows)
    assert before == {path: path.stat().st_mtime_ns for path in bank.glob("part-*")}


def test_scores_of_ones_own_are_judged_beside(headwater, written, tmp_path):
    path = written(("checkpoints =", TRAIN))
    headwater("influence", path, "--all", "--out", "mine.csv")
    status, out, err = headwater(
        "evaluate", path, *FEW, "--methods", "tracin", "--scores", "mine=mine.csv", "--json"
    )
    assert status == 0, err
    tracin, mine = json.loads(out)["rows"]
    assert mine["method"] == "mine"
    assert mine["LDS"] == pytest.approx(tracin["LDS"])
    assert (tmp_path / "evaluation-bank" / "bank.json").exists()
    status, out, err = headwater("evaluate", path, *FEW, "--runs", "1", "--bank", "one")
    assert "The ceiling isn't known" in out


def test_wrong_labels_are_found(headwater, written):
    path = written(("checkpoints =", RECIPE))
    status, out, err = headwater(
        "evaluate", path, "--measure", "mislabel", "--seeds", "2", "--share", "0.2",
        "--methods", "tracin,training-loss,training-loss-mean,random", "--out", "found.csv",
        "--flip", "runner-up",
    )  # fmt: skip
    assert status == 0, err
    for word in ("TracIn", "training loss", "margin", "AUROC", "found at 20 %", "20% of 30"):
        assert word in out


def test_without_its_proponents_a_query_is_asked_again(headwater, written):
    path = written(("checkpoints =", RECIPE))
    status, out, err = headwater(
        "evaluate", path, "--measure", "removal", "--seeds", "2", "--queries", "0:3",
        "--methods", "tracin", "--remove", "5,10", "--json",
    )  # fmt: skip
    assert status == 0, err
    rows = json.loads(out)["rows"]
    assert [row["removed by"] for row in rows] == [
        "TracIn", "random removal", "random removal, same class",
    ]  # fmt: skip
    assert set(rows[0]) == {"removed by", "rise, 5", "rise, 10", "flipped, 5", "flipped, 10"}


@pytest.mark.parametrize(
    ("change", "arguments", "status", "says"),
    [
        (("checkpoints =", "checkpoints ="), [], 3, "doesn't say how to train the model again"),
        (("checkpoints =", "def train():\n    pass\ncheckpoints ="), [], 3, "train(dataset, seed)"),
        (("checkpoints =", "training = 5\ncheckpoints ="), [], 3, "has a int there"),
        (("checkpoints =", TRAIN), ["--methods", "magic"], 2, "there is no method 'magic'"),
        (("checkpoints =", TRAIN), ["--out", "table.txt"], 2, "ends in none of .md, .csv, .json"),
        (("checkpoints =", TRAIN), ["--out", "no/table.md"], 3, "there is no folder no"),
        (("checkpoints =", TRAIN), ["--scores", "mine.csv"], 2, "expected NAME=FILE"),
        (("checkpoints =", TRAIN), ["--scores", "a=mine.csv"], 3, "there is no such file"),
        (("checkpoints =", TRAIN), ["--remove", "5,x"], 2, "expected numbers"),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(
    headwater, written, change, arguments, status, says
):
    code, _, err = headwater("evaluate", written(change), *FEW, *arguments)
    assert code == status
    assert says in " ".join(err.split())


def test_wrong_labels_need_a_recipe(headwater, written):
    code, _, err = headwater("evaluate", written(("checkpoints =", TRAIN)), "--measure", "mislabel")
    assert code == 3
    assert "doesn't define it" in " ".join(err.split())


def test_files_of_scores_are_read_in_any_format(tmp_path):
    wanted = {"ids": ["a", "b", "c"], "query_ids": [5, 6]}
    matrix = np.arange(6.0).reshape(3, 2)
    expected = torch.as_tensor(matrix).mT
    np.save(tmp_path / "plain.npy", matrix)
    np.savez(tmp_path / "named.npz", scores=matrix[[2, 0, 1]], ids=["c", "a", "b"])
    (tmp_path / "table.csv").write_text(
        "id,index,score_6,score_5\nb,1,3,2\na,0,1,0\nc,2,5,4\n", encoding="utf-8"
    )
    for name in ("plain.npy", "named.npz", "table.csv"):
        assert torch.equal(read_scores(tmp_path / name, **wanted), expected)
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(
        pyarrow.table({"id": ["a", "b", "c"], "score_5": [0.0, 2, 4], "score_6": [1.0, 3, 5]}),
        tmp_path / "table.parquet",
    )
    assert torch.equal(read_scores(tmp_path / "table.parquet", **wanted), expected)
    np.savez(tmp_path / "other.npz", values=matrix)
    (tmp_path / "other.csv").write_text("name,score\na,1\n")
    np.save(tmp_path / "small.npy", matrix[:2])
    np.save(tmp_path / "turned.npy", matrix.T)
    np.save(tmp_path / "holes.npy", np.where(matrix == 3, np.nan, matrix))
    with pytest.raises(NonFiniteError, match=r"holes.npy: the score of query 1 and training"):
        read_scores(tmp_path / "holes.npy", **wanted)
    for name, says in [
        ("other.npz", "expected `scores`"),
        ("other.csv", "score_<query id>"),
        ("small.npy", r"small.npy: .* shape \(2, 2\); expected 3 training examples x 2 queries$"),
        (
            "turned.npy",
            r"\(2, 3\); expected 3 training examples x 2 queries; with a row per query, transpose "
            r"it: a file has a row per training example",
        ),
    ]:
        with pytest.raises(InputError, match=says) as caught:
            read_scores(tmp_path / name, **wanted)
        assert "axes" not in str(caught.value)
