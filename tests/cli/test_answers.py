"""What the commands print and write is what plain loops over the run's files say."""

import csv
import json

import pytest
import torch

from headwater.demo.data import noisy_digits
from tests.cli import plain
from tests.cli.conftest import SMALL

N = SMALL.train_size


@pytest.fixture(scope="module")
def own(demo_run):
    return plain.self_influence(SMALL, demo_run.parent / "checkpoints")


@pytest.fixture(scope="module")
def scores(demo_run):
    return plain.scores(SMALL, demo_run.parent / "checkpoints", [0, 3])


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_self_influence_ranks_the_training_set(headwater, demo_run, tmp_path, own):
    status, out, err = headwater("self-influence", demo_run, "--top", 30, "--out", "suspects.csv")
    assert status == 0
    assert "Wrote 30 rows to suspects.csv" in err
    rows = read_csv(tmp_path / "suspects.csv")
    order = own.argsort(descending=True).tolist()[:30]
    assert [int(row["id"]) for row in rows] == order
    data = noisy_digits(SMALL)
    for rank, row in enumerate(rows, start=1):
        n = int(row["id"])
        assert float(row["self_influence"]) == pytest.approx(float(own[n]), rel=1e-4)
        assert int(row["rank"]) == rank
        assert int(row["label"]) == int(data.given_labels[n])
        assert row["flipped"] == str(bool(data.flipped[n]))
    lines = out.splitlines()
    assert lines[0] == f"TracInCP, {N} training examples, 2 checkpoints, 38,282 parameters"
    assert lines[2].split() == ["rank", "id", "label", "true_label", "flipped", "self_influence"]
    assert lines[3].split()[:2] == ["1", str(order[0])]
    assert "... 10 more rows in suspects.csv" in out
    assert max(map(len, lines)) <= 80


def test_self_influence_of_groups_is_their_mean(headwater, demo_run, own):
    status, out, _ = headwater("self-influence", demo_run, "--by", "flipped", "--json")
    assert status == 0
    found = json.loads(out)
    flipped = noisy_digits(SMALL).flipped
    for row in found["rows"]:
        members = own[flipped == row["flipped"]]
        assert row["self_influence"] == pytest.approx(float(members.mean()), rel=1e-4)
        assert row["group_size"] == len(members)
    assert found["meaning"]["steps"] == ["mean over training examples by flipped"]
    assert "never negative" in found["meaning"]["sign"]


def test_influence_names_both_sides_of_every_query(headwater, demo_run, scores):
    status, out, _ = headwater("influence", demo_run, "--queries", "0,3", "--k", 4, "--json")
    assert status == 0
    rows = json.loads(out)["rows"]
    assert len(rows) == 2 * 2 * 4
    for query, expected in zip((0, 3), scores, strict=True):
        for side, descending in (("proponent", True), ("opponent", False)):
            found = [r for r in rows if r["query"] == query and r["side"] == side]
            assert [r["rank"] for r in found] == [1, 2, 3, 4]
            assert [r["id"] for r in found] == expected.argsort(descending=descending)[:4].tolist()
            for row in found:
                assert row["score"] == pytest.approx(float(expected[row["id"]]), rel=1e-3)
                assert row["query_label"] == int(noisy_digits(SMALL).test_labels[query])


def test_influence_fits_a_terminal(headwater, demo_run):
    status, out, _ = headwater("influence", demo_run, "--queries", "0:7", "--k", 2)
    assert status == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.startswith("Query")][:2] == [
        f"Query {q} (label {int(noisy_digits(SMALL).test_labels[q])})" for q in (0, 1)
    ]
    assert "  ... 2 more queries with --out FILE or --json" in lines
    assert sum("proponent  " in line for line in lines) == 2 * 5


def test_influence_of_all_queries_together(headwater, demo_run, scores):
    total = scores.sum(dim=0)
    together = ("influence", demo_run, "--queries", "0,3", "--sum")
    opponents = ("--k", 3, "--side", "opponents", "--json")
    status, out, _ = headwater(*together, *opponents)
    assert status == 0
    rows = json.loads(out)["rows"]
    assert [row["id"] for row in rows] == total.argsort()[:3].tolist()
    assert {row["query"] for row in rows} == {"all"}
    _, out, _ = headwater(*together, "--by", "label")
    labels = noisy_digits(SMALL).given_labels
    by_label = torch.stack([total[labels == label].sum() for label in range(10)])
    table = [line.split() for line in out.splitlines() if len(line.split()) == 4][1:]
    assert [int(label) for _, label, _, _ in table] == by_label.argsort(descending=True).tolist()


def test_all_scores_go_into_a_file(headwater, demo_run, tmp_path, scores):
    parquet = pytest.importorskip("pyarrow.parquet")
    status, out, err = headwater(
        "influence", demo_run, "--queries", "0,3", "--all", "--out", "all.parquet"
    )
    assert (status, out) == (0, "")
    assert "Wrote all scores to all.parquet, one row per training example" in err
    table = parquet.read_table(tmp_path / "all.parquet").to_pydict()
    for name, expected in zip(("score_0", "score_3"), scores, strict=True):
        found = torch.tensor(table[name], dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert len(table["flipped"]) == N


def test_the_ids_of_the_file_are_those_of_the_answer(headwater, written):
    status, out, _ = headwater("influence", written(), "--queries", "4:6", "--k", 1, "--json")
    assert status == 0
    rows = json.loads(out)["rows"]
    assert [row["query"] for row in rows] == [4, 4, 5, 5]
    assert all(row["id"] == f"row {row['index']}" for row in rows)
    assert all(row["source"] == ["web", "book", "web"][row["index"] % 3] for row in rows)


def test_a_bar_is_shown_where_it_is_asked_for(headwater, written):
    _, _, err = headwater("self-influence", written(), "--progress")
    assert "TracInCP: 100%" in err
    _, _, err = headwater("self-influence", written())
    assert err == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "return TensorDataset(X[30:], Y[30:])",
            "return DataLoader(TensorDataset(X[30:], Y[30:]))",
        ),
        ('reduction="none"', 'reduction="mean"'),
        (
            "def train_dataset():\n    return TensorDataset(X[:30], Y[:30])",
            "train_dataset = TensorDataset(X[:30], Y[:30])",
        ),
        ("loss_fn = ", "from headwater.tasks import LossTask\nloss = "),
    ],
    ids=["loader", "mean", "value", "task"],
)
def test_a_file_may_say_the_same_in_several_ways(headwater, written, old, new):
    asked = ("--queries", "0:3", "--json")
    _, plainly, _ = headwater("influence", written(), *asked)
    path = written((old, new), ("\ncheckpoints", TASK), name="other.py")
    status, out, _ = headwater("influence", path, *asked)
    assert status == 0
    for row, expected in zip(json.loads(out)["rows"], json.loads(plainly)["rows"], strict=True):
        assert row["id"] == expected["id"]
        assert row["score"] == pytest.approx(expected["score"], rel=1e-5)


TASK = """
if "loss" in globals():
    task = LossTask(loss, reduction="none")
checkpoints"""


@pytest.mark.parametrize(
    "setting",
    ['layers = ["weight"]', "from headwater import Projected\nprojection = Projected(4)"],
    ids=["layers", "projection"],
)
def test_settings_of_the_file_count(headwater, written, setting):
    _, plainly, _ = headwater("self-influence", written(), "--json")
    path = written(("loss_fn =", f"{setting}\nloss_fn ="), name="other.py")
    status, out, _ = headwater("self-influence", path, "--json")
    assert status == 0
    assert json.loads(out)["rows"] != json.loads(plainly)["rows"]


DICTS = """
from headwater import Task


class OfDicts(Task):
    def losses(self, model, batch):
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none")


def train_dataset():
    return [{"x": X[n], "y": Y[n]} for n in range(30)]


def query_dataset():
    return DataLoader([{"x": X[n], "y": Y[n]} for n in range(30, 40)], batch_size=3)


task = OfDicts()
checkpoints ="""


def test_batches_may_be_dicts_that_a_task_reads(headwater, written):
    asked = ("--queries", "2,0", "--json")
    _, plainly, _ = headwater("influence", written(), *asked)
    path = written(("checkpoints =", DICTS), name="dicts.py")
    status, out, _ = headwater("influence", path, *asked)
    assert status == 0
    found, expected = json.loads(out)["rows"], json.loads(plainly)["rows"]
    assert [(row["query"], row["id"]) for row in found] == [
        (row["query"], row["id"]) for row in expected
    ]
    assert headwater("check", path, "--no-cost")[0] == 0


def test_the_final_layer_alone(headwater, written):
    final = ("loss_fn =", 'final_layer = "2"\nloss_fn =')
    deep = (
        "return nn.Linear(3, 2)",
        "return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))",
    )
    status, out, _ = headwater("self-influence", written(final, deep), "--json")
    assert status == 0
    assert json.loads(out)["meaning"]["estimator"]["name"] == "TracInCPFast"
    assert json.loads(out)["meaning"]["estimator"]["parameters"] == 10


def test_checkpoints_are_taken_beside_the_file_from_wherever_it_is_used(
    headwater, started, tmp_path
):
    text = started.read_text(encoding="utf-8").replace(
        'checkpoints = HERE / "run"', 'checkpoints = "run"'
    )
    moved = started.parent / "relative.py"
    moved.write_text(text, encoding="utf-8")
    status, out, _ = headwater("self-influence", moved, "--top", 1)
    assert status == 0
    assert "4 checkpoints" in out
