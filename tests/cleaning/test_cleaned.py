"""Decisions applied to a training set: its index, its rows, and what is refused."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from headwater import DecisionsError, InputError
from headwater.cleaning import Decision, Decisions, apply, fingerprint_of

X = torch.arange(12.0).reshape(6, 2)
Y = torch.tensor([0, 1, 2, 0, 1, 2])
DATA = TensorDataset(X, Y)
IDS = ["a", "b", "c", "d", "e", "f"]
SOME = Decisions([Decision(4, "relabel", 2), Decision(1, "drop"), Decision(0, "keep")])


def test_the_index_has_what_stays_with_its_labels(tmp_path):
    cleaned = apply(SOME, DATA, labels=Y, ids=IDS)
    assert cleaned.indices == [0, 2, 3, 4, 5]
    assert cleaned.labels == [0, 2, 0, 2, 2]
    assert cleaned.dropped == [1]
    assert cleaned.relabelled == [4]
    cleaned.to_csv(tmp_path / "c.csv")
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert lines[:2] == ["index,id,label,given_label", "0,a,0,0"]
    assert lines[4] == "4,e,2,1"


def test_rows_have_the_new_labels_in_the_old_type():
    rows = apply(SOME, DATA, labels=Y).dataset(DATA)
    inputs, labels = next(iter(DataLoader(rows, batch_size=9)))
    assert torch.equal(inputs, X[[0, 2, 3, 4, 5]])
    assert labels.tolist() == [0, 2, 0, 2, 2]
    assert labels.dtype == Y.dtype
    assert DATA[4][1] == 1


def test_rows_that_are_dicts_keep_everything_else():
    rows = [{"text": name, "label": int(label)} for name, label in zip(IDS, Y, strict=True)]
    cleaned = apply(SOME, rows, labels=Y).dataset(rows)
    assert cleaned[3] == {"text": "e", "label": 2}
    assert rows[4]["label"] == 1


def test_a_decision_for_the_label_that_is_there_changes_nothing():
    cleaned = apply(Decisions([Decision(4, "relabel", 1)]), labels=Y)
    assert cleaned.relabelled == []
    assert cleaned.labels == Y.tolist()


def test_without_data_the_number_of_examples_will_do():
    cleaned = apply(SOME, count=6)
    assert cleaned.labels == [None, None, None, 2, None]


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (Decision(6, "drop"), "example 6, and the data has 6 examples, 0 to 5"),
        (Decision(1, "drop", id="c"), "has the id 'c', and that example's is 'b'"),
        (Decision(1, "relabel", 7), "the label 7, which no example has; known are 0, 1, 2"),
    ],
)
def test_decisions_that_do_not_fit_the_data_are_refused(decision, said):
    with pytest.raises(DecisionsError, match=said):
        apply(Decisions([decision]), DATA, labels=Y, ids=IDS)


def test_new_labels_may_be_allowed():
    cleaned = apply(Decisions([Decision(1, "relabel", 7)]), DATA, labels=Y, new_labels=True)
    assert cleaned.labels[1] == 7


def test_decisions_of_another_data_set_are_refused():
    own = Decisions(SOME, data=fingerprint_of(DATA))
    assert len(apply(own, DATA, labels=Y)) == 5
    changed = Y.clone()
    changed[5] = 0
    for other in (TensorDataset(X, changed), TensorDataset(X + 1, Y)):
        with pytest.raises(DecisionsError, match="another data set"):
            apply(own, other, labels=Y)


def test_numbers_of_examples_must_be_known_and_agree():
    with pytest.raises(InputError, match="isn't known"):
        apply(SOME)
    with pytest.raises(InputError, match="dataset has 6"):
        apply(SOME, DATA, labels=Y[:5])
