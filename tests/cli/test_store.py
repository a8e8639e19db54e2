"""`headwater store`: a store is built, asked, added to, taken from and looked at."""

import json

import pytest

from headwater.estimators.stored import writing

NEW = """
def new_dataset():
    return TensorDataset(X[30:35], Y[30:35])


def new_columns():
    return {"id": [f"new {n}" for n in range(5)]}


loss_fn ="""


@pytest.fixture
def path(written):
    return written(("loss_fn =", NEW))


@pytest.fixture
def grads(headwater, path):
    status, out, _ = headwater("store", "build", path, "grads")
    assert status == 0
    assert out.startswith("grads: 30 examples, ")
    return "grads"


def rows(headwater, *arguments):
    status, out, _ = headwater(*arguments, "--json")
    assert status == 0
    return json.loads(out)["rows"]


def test_a_store_answers_as_the_training_data_does(headwater, path, grads):
    for asked in ((), ("--sum",), ("--sum", "--by", "source"), ("--side", "opponents")):
        found = rows(headwater, "store", "query", path, grads, "--queries", "0:3", *asked)
        expected = rows(headwater, "influence", path, "--queries", "0:3", *asked)
        for one, other in zip(found, expected, strict=True):
            assert one.pop("score") == pytest.approx(other.pop("score"), rel=1e-4)
            assert one == other


def test_what_is_added_and_deleted(headwater, path, grads):
    status, out, _ = headwater("store", "append", path, grads, "--dataset", "new_dataset")
    assert (status, out) == (0, "grads: 5 examples added, 35 in all\n")
    found = rows(headwater, "store", "query", path, grads, "--queries", "0:1", "--k", 35)
    assert {row["id"] for row in found} >= {"row 0", "new 4"}
    assert {row["source"] for row in found if row["id"].startswith("new")} == {None}
    status, out, _ = headwater("store", "delete", grads, "row 3", "new 1")
    assert status == 0
    assert "2 examples deleted, still on the disk until --compact; 33 left" in out
    found = rows(headwater, "store", "query", path, grads, "--queries", "0:1", "--k", 35)
    assert not {"row 3", "new 1"} & {row["id"] for row in found}
    status, out, _ = headwater("store", "delete", grads, "--compact")
    assert status == 0
    assert "0 examples deleted" in out
    assert "freed; 33 left" in out
    _, out, _ = headwater("store", "info", grads, "--json")
    facts = json.loads(out)
    assert (facts["examples"], facts["deleted_but_on_disk"]) == (33, 0)


def test_ids_may_be_numbers_or_come_from_a_file(headwater, path, tmp_path):
    numbered = path.with_name("numbered.py")
    text = path.read_text(encoding="utf-8")
    numbered.write_text(text.replace('"id": [f"row {n}" for n in range(30)], ', ""))
    assert headwater("store", "build", numbered, "s")[0] == 0
    (tmp_path / "wrong.txt").write_text("4\n\n29\n")
    status, out, _ = headwater("store", "delete", "s", 7, "--ids-from", "wrong.txt")
    assert status == 0
    assert "3 examples deleted" in out
    found = rows(headwater, "store", "query", numbered, "s", "--queries", "0:1", "--k", 30)
    assert {row["id"] for row in found} == set(range(30)) - {4, 7, 29}


def test_an_unknown_id_deletes_nothing(headwater, path, grads):
    status, _, err = headwater("store", "delete", grads, "row 1", "row 99")
    assert status == 3
    assert "no example has the id 'row 99'; nothing was deleted" in err
    assert json.loads(headwater("store", "info", grads, "--json")[1])["examples"] == 30


def test_a_projected_store_is_asked_in_two_stages(headwater, path):
    build = ("store", "build", path, "small", "--form", "projected", "--dim", "4")
    assert headwater(*build, "--dtype", "float16")[0] == 0
    asked = ("--queries", "0:3", "--k", 2, "--side", "opponents")
    found = rows(headwater, "store", "query", path, "small", *asked, "--recompute", 30)
    expected = rows(headwater, "influence", path, *asked)
    for one, other in zip(found, expected, strict=True):
        assert one.pop("exact") is True
        assert one.pop("score") == pytest.approx(other.pop("score"), rel=1e-4)
        assert one == other
    status, out, _ = headwater("store", "info", "small")
    assert status == 0
    assert "projected (dim 4, seed 0), float16" in out


@pytest.mark.parametrize("wrong", [("--sum",), ("--by", "source"), ()])
def test_two_stages_are_for_the_strongest_of_one_side(headwater, path, grads, wrong):
    status, _, err = headwater("store", "query", path, grads, "--recompute", 5, *wrong)
    assert status == 2
    assert "--recompute" in err


def test_info_says_what_it_was_made_of(headwater, grads):
    status, out, _ = headwater("store", "info", grads)
    assert status == 0
    for line in ("examples    30", "build       complete", "rates       0.3, 0.07"):
        assert line in out
    assert "2, from weight to bias" in out
    assert "CrossEntropyLoss" in out


def test_verify_finds_a_changed_byte(headwater, grads, tmp_path):
    status, out, _ = headwater("store", "verify", grads)
    assert status == 0
    assert out.startswith("grads: as it was written. 1 file, ")
    shard = next((tmp_path / grads).glob("shard-*"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(bytes(data))
    status, _, err = headwater("store", "verify", grads)
    assert status == 1
    assert err.startswith(f"Damaged: {shard.name}: bytes on disk changed")


def test_a_store_of_another_run_is_refused_by_name(headwater, path, grads):
    other = path.with_name("other.py")
    other.write_text(path.read_text(encoding="utf-8").replace("0.07", "0.08"), encoding="utf-8")
    status, _, err = headwater("store", "query", other, grads)
    assert status == 3
    assert "learning rates differ" in err


def test_a_build_that_is_interrupted_goes_on(headwater, path, monkeypatch, tmp_path):
    monkeypatch.setattr(writing, "SHARD_BYTES", 1)
    small = path.with_name("small.py")
    text = path.read_text(encoding="utf-8").replace("loss_fn =", "batch_size = 8\nloss_fn =")
    small.write_text(text, encoding="utf-8")
    assert headwater("store", "build", small, "whole")[0] == 0

    written = writing.shard_contents
    counted = []

    def interrupted(*arguments, **options):
        counted.append(1)
        if len(counted) == 5:
            raise KeyboardInterrupt
        return written(*arguments, **options)

    monkeypatch.setattr(writing, "shard_contents", interrupted)
    status, _, err = headwater("store", "build", small, "again")
    assert status == 130
    assert "24 examples are stored. The same command goes on from there." in err
    monkeypatch.setattr(writing, "shard_contents", written)
    _, out, _ = headwater("store", "info", "again")
    assert "interrupted: `store build` goes on with it" in out
    status, _, err = headwater("store", "query", small, "again")
    assert status == 3
    assert "interrupted" in err
    assert headwater("store", "build", small, "again")[0] == 0
    for file in sorted((tmp_path / "whole").glob("[!.]*")):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
