"""From suspects over decisions to the cleaned set, in the terminal, and mistakes on the way."""

import csv
import json

import pytest
import torch


@pytest.fixture
def decided(started, headwater, tmp_path):
    """Suggested decisions about the digits of `headwater init`."""
    status, out, err = headwater(
        "suspects", started, "--top", 5, "--out", "s.csv", "--decisions", "d.json"
    )
    assert status == 0, err
    assert "labels look wrong" in out
    return tmp_path / "d.json"


def test_suspects_are_shown_written_and_decided_about(decided, tmp_path):
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {"given_label", "suggested_label", "self_influence", "probe"} <= set(rows[0])
    content = json.loads(decided.read_text())
    assert content["format"] == "headwater-decisions"
    assert content["decisions"]


def test_decisions_make_the_index_of_the_cleaned_set(decided, started, headwater, tmp_path):
    content = json.loads(decided.read_text())
    first, second = content["decisions"][:2]
    second.update(decision="drop", label=None)
    decided.write_text(json.dumps(content))
    status, out, err = headwater("apply", decided, started, "--out", "c.csv", "--json")
    assert status == 0, err
    assert json.loads(out)["dropped"] == [second["index"]]
    lines = (tmp_path / "c.csv").read_text().splitlines()
    rows = {int(row["index"]): row for row in csv.DictReader(lines)}
    assert len(rows) == 1499
    assert second["index"] not in rows
    changed = rows[first["index"]]
    assert changed["label"] == str(first["label"]) != changed["given_label"]


def test_json_of_suspects_is_for_scripts(started, headwater):
    status, out, err = headwater("suspects", started, "--top", 3, "--checkpoints", 2, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert len(found["rows"]) == 3
    assert len(found["checkpoints"]) <= 2


WITH_TRAINING = (
    'loss_fn = nn.CrossEntropyLoss(reduction="none")',
    """\
loss_fn = nn.CrossEntropyLoss(reduction="none")


def train(dataset, seed):
    torch.manual_seed(seed)
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for x, y in DataLoader(dataset, batch_size=len(dataset)):
        for _ in range(30):
            optimizer.zero_grad()
            loss_fn(net(x), y).mean().backward()
            optimizer.step()
    return net


def held_out_dataset():
    return query_dataset()""",
)
DROP = {"index": 3, "id": "row 3", "decision": "drop", "label": None}


def decisions(path, *rows, data=None):
    content = {"format": "headwater-decisions", "version": 1, "data": data, "decisions": rows}
    path.write_text(json.dumps(content))
    return path


def test_retraining_says_what_cleaning_did(headwater, written, tmp_path):
    # Labels that follow the first number, of which a third were turned round; decisions turn back.
    mine = written(
        (
            "X, Y = torch.randn(40, 3), torch.arange(40) % 2",
            "X = torch.randn(40, 3)\nY = (X[:, 0] > 0).long()",
        ),
        (
            "TensorDataset(X[:30], Y[:30])",
            "TensorDataset(X[:30], torch.where(torch.arange(30) % 3 == 0, 1 - Y[:30], Y[:30]))",
        ),
        WITH_TRAINING,
    )
    torch.manual_seed(0)
    right = (torch.randn(40, 3)[:, 0] > 0).long()
    rows = [
        {"index": n, "id": f"row {n}", "decision": "relabel", "label": int(right[n])}
        for n in range(0, 30, 3)
    ]
    path = decisions(tmp_path / "d.json", *rows)
    status, out, err = headwater("apply", path, mine, "--retrain", "--seeds", 3)
    assert status == 0, err
    assert "10 of them under another label" in out
    assert "3 of 3" in out
    assert "gain     0." in out
    assert "only places are compared" in err


@pytest.mark.parametrize(
    ("row", "data", "said"),
    [
        ({**DROP, "index": 30}, None, "0 to 29"),
        ({**DROP, "id": "row 4"}, None, "has the id 'row 4', and that example's is 'row 3'"),
        ({**DROP, "decision": "delete"}, None, "'delete'"),
        ({**DROP, "decision": "relabel", "label": 5}, None, "known are 0, 1"),
        (DROP, "0" * 64, "another data set"),
    ],
)
def test_decisions_that_do_not_fit_are_refused(headwater, written, tmp_path, row, data, said):
    path = decisions(tmp_path / "d.json", row, data=data)
    status, _, err = headwater("apply", path, written(), "--out", "c.csv")
    assert status == 3
    assert said in err
    assert not (tmp_path / "c.csv").exists()


def test_without_the_file_the_number_of_examples_is_needed(headwater, tmp_path):
    path = decisions(tmp_path / "d.json", DROP)
    status, _, err = headwater("apply", path, "--out", "c.csv")
    assert status == 2
    assert "--count" in err
    assert headwater("apply", path, "--count", 5, "--out", "c.csv")[0] == 0
    assert (tmp_path / "c.csv").read_text().splitlines()[1:] == [f"{n},{n},," for n in (0, 1, 2, 4)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ([], "doesn't define `train`, which is a function train(dataset, seed)"),
        ([("def model():", "def train():\n    pass\n\n\ndef model():")], "train(dataset, seed)"),
        (
            [WITH_TRAINING, ("    return net\n", "    return None\n")],
            "returned a NoneType; expected the trained",
        ),
        ([WITH_TRAINING, ("held_out_dataset", "test_set")], "doesn't define `held_out_dataset`"),
    ],
)
def test_what_retraining_needs_is_asked_for(headwater, written, tmp_path, change, said):
    path = decisions(tmp_path / "d.json", DROP)
    status, _, err = headwater("apply", path, written(*change), "--retrain", "--seeds", 1)
    assert status == 3
    assert said in err


def test_options_that_do_not_go_together_are_refused(headwater, written, tmp_path):
    path = decisions(tmp_path / "d.json", DROP)
    for arguments in (
        ["apply", path, written()],
        ["apply", path, "--retrain"],
        ["apply", path, written(), "--out", "c.parquet"],
        ["apply", tmp_path / "d.txt", written(), "--out", "c.csv"],
        ["suspects", written(), "--all"],
        ["suspects", written(), "--decisions", "d.xml"],
    ):
        assert headwater(*arguments)[0] == 2
