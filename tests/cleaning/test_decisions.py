"""The file of decisions: what is written is read back, and each mistake in it is named."""

import json

import pytest

from headwater import DecisionsError
from headwater.cleaning import Decision, Decisions

SOME = Decisions(
    [
        Decision(17, "relabel", 3, id="row 17"),
        Decision(2, "drop", id="007"),
        Decision(5, "keep", id='a "quoted", name\nof two lines'),
    ],
    data="abc",
)
ONE = {"index": 4, "id": None, "decision": "drop", "label": None}


def content(*decisions, **changes):
    return {
        "format": "headwater-decisions",
        "version": 1,
        "data": None,
        "decisions": list(decisions),
        **changes,
    }


def test_json_is_read_back_as_it_was(tmp_path):
    SOME.write(tmp_path / "d.json")
    assert Decisions.read(tmp_path / "d.json") == SOME
    written = json.loads((tmp_path / "d.json").read_text())
    assert written["decisions"][0] == {
        "index": 17,
        "id": "row 17",
        "decision": "relabel",
        "label": 3,
    }


def test_csv_is_read_back_without_the_fingerprint(tmp_path):
    SOME.write(tmp_path / "d.csv")
    read = Decisions.read(tmp_path / "d.csv")
    assert list(read) == list(SOME)
    assert read.data is None


def test_csv_of_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("\ufeffdecision,index\r\ndrop,3\r\n\r\nkeep,1\r\n", encoding="utf-8")
    assert list(Decisions.read(path)) == [Decision(3, "drop"), Decision(1, "keep")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "isn't JSON"),
        ("[]", "isn't a file of decisions"),
        (json.dumps(content(version=2)), "version 2"),
        (json.dumps(content(data=7)), "expected a fingerprint"),
        (json.dumps(content(decisions={})), "expected a list"),
        (json.dumps(content("drop")), "decision 0 is a str"),
        (json.dumps(content({"index": 4})), "has no 'decision'"),
        (json.dumps(content({**ONE, "why": 1})), "unknown entry 'why'"),
        (json.dumps(content(ONE, {**ONE, "index": -1})), "decision 1: .*index -1"),
        (json.dumps(content({**ONE, "index": True})), "index True"),
        (json.dumps(content({**ONE, "decision": "delete"})), "'delete'; expected one of 'keep'"),
        (json.dumps(content({**ONE, "decision": "relabel"})), "without a label"),
        (json.dumps(content({**ONE, "label": 3})), "only 'relabel' takes one"),
        (json.dumps(content({**ONE, "decision": "relabel", "label": 1.5})), "int or a text"),
        (json.dumps(content(ONE, ONE)), "two decisions about example 4"),
    ],
)
def test_a_mistake_in_json_is_named(tmp_path, text, said):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(DecisionsError, match=said):
        Decisions.read(tmp_path / "d.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("index,label\n1,2\n", "no column 'decision'"),
        ("index,decision,why\n1,drop,x\n", "unknown column 'why'"),
        ("index,decision\n1\n", "line 2 has 1 cells"),
        ("index,decision\n1,keep\nx,drop\n", "line 3 has the index 'x'"),
        ("index,decision\n1,keep\n2,lose\n", "line 3: .*'lose'"),
    ],
)
def test_a_mistake_in_csv_is_named_with_its_line(tmp_path, text, said):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DecisionsError, match=said):
        Decisions.read(tmp_path / "d.csv")


def test_a_missing_file_is_an_error_of_decisions(tmp_path):
    with pytest.raises(DecisionsError, match="no file"):
        Decisions.read(tmp_path / "absent.json")
