import csv

from headwater.demo.files import write_explanations, write_self_influence


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_self_influence_lists_every_training_example_most_suspicious_first(tmp_path, results):
    path = tmp_path / "self_influence.csv"
    write_self_influence(path, results)
    rows = read(path)
    assert [int(row["rank"]) for row in rows] == list(range(1, 11))
    assert sorted(int(row["index"]) for row in rows) == list(range(10))
    scores = [float(row["self_influence"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert rows[0] == {
        "rank": "1",
        "index": "1",
        "given_label": results.class_names[0],
        "true_label": "class 1",
        "flipped": "1",
        "self_influence": "9.25",
        "training_loss": "4.625",
    }
    assert [row["flipped"] for row in rows[1:]] == ["0"] * 9


def test_explanations_list_every_proponent_and_opponent(tmp_path, results):
    path = tmp_path / "explanations.csv"
    write_explanations(path, results)
    rows = read(path)
    assert [(row["test_index"], row["side"], row["rank"], row["train_index"]) for row in rows] == [
        ("2", "proponent", "1", "2"),
        ("2", "proponent", "2", "3"),
        ("2", "opponent", "1", "1"),
        ("2", "opponent", "2", "0"),
        ("0", "proponent", "1", "1"),
        ("0", "opponent", "1", "9"),
    ]
    assert rows[2]["train_given_label"] == results.class_names[0]
    assert rows[2]["train_true_label"] == "class 1"
    assert rows[2]["train_flipped"] == "1"
    assert float(rows[2]["influence"]) == -2.5
