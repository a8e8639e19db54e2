"""Building where something stands already, and builds that are refused before they begin."""

import pytest
import torch
from torch.utils.data import TensorDataset

from headwater import GradientStore, InputError, StoreError, StoreIncompleteError
from headwater import StoreMismatchError as Mismatch
from headwater.estimators.stored import writing as store_writing
from tests.estimators.small import QUERIES, TRAINING, N, Stream, labels, make, rows, states

MORE = TensorDataset(rows(2, 30, 5), labels(2, 31))
NAMES = [f"row {n}" for n in range(N)]


def contents(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


def test_a_finished_store_is_returned_as_it_is(tmp_path):
    store = GradientStore.build(make(), tmp_path / "s", ids=NAMES)
    before = contents(tmp_path / "s")
    for ids in (None, NAMES, tuple(NAMES)):
        again = GradientStore.build(make(), tmp_path / "s", ids=ids)
        assert again.ids == NAMES
        assert torch.equal(again.scores(*QUERIES), store.scores(*QUERIES))
    assert contents(tmp_path / "s") == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda store: store.append(MORE), "2 examples appended"),
        (lambda store: store.delete([3]), "1 example deleted"),
        (lambda store: (store.delete([3, 4]), store.compact()), "2 examples deleted"),
        (lambda store: (store.append(MORE), store.delete([7])), "2 .* appended and 1 .* deleted"),
    ],
    ids=["append", "delete", "compact", "both"],
)
def test_a_store_that_was_changed_since_is_not_built_again(tmp_path, change, said):
    store = GradientStore.build(make(), tmp_path / "s")
    change(store)
    before = contents(tmp_path / "s")
    with pytest.raises(
        StoreError, match=rf"changed since it was built \({said}\).*GradientStore.o"
    ):
        GradientStore.build(make(), tmp_path / "s")
    assert contents(tmp_path / "s") == before
    assert GradientStore.open(tmp_path / "s", make()).ids == store.ids


def test_other_ids_than_those_stored_are_refused(tmp_path):
    GradientStore.build(make(), tmp_path / "s", ids=NAMES)
    other = [*NAMES[:-1], "another"]
    with pytest.raises(Mismatch, match=r"field 'ids': first at place 6, 'row 6' in .* 'another'"):
        GradientStore.build(make(), tmp_path / "s", ids=other)
    with pytest.raises(Mismatch, match="field 'ids'"):
        GradientStore.build(make(), tmp_path / "s", ids=range(N))


class Stops(TensorDataset):
    """Can be read whole for a sample, and then up to the fifth example until it is let go."""

    stopping = True
    reads = 0

    def __getitem__(self, index):
        self.reads += index == 5
        if self.stopping and self.reads > 1:
            raise RuntimeError("interrupted")
        return super().__getitem__(index)


def test_an_interrupted_build_goes_on_with_its_own_ids_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(store_writing, "SHARD_BYTES", 1)
    data = Stops(*TRAINING)
    estimator = make(influence_src_dataset=data, batch_size=1)
    with pytest.raises(RuntimeError, match="interrupted"):
        GradientStore.build(estimator, tmp_path / "s", ids=NAMES)
    data.stopping = False
    for ids in (None, NAMES[::-1]):
        with pytest.raises(Mismatch, match="field 'ids': first at place 0, 'row 0'"):
            GradientStore.build(estimator, tmp_path / "s", ids=ids)
    with pytest.raises(StoreIncompleteError):
        GradientStore.open(tmp_path / "s", estimator)
    assert GradientStore.build(estimator, tmp_path / "s", ids=NAMES).ids == NAMES


def test_a_refused_folder_of_something_else_is_left_as_it_was(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="is no gradient store and isn't empty"):
        GradientStore.build(make(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([0, 1, 2, 3, 4, 5, 5], "the id 5 is there already"),
        ([0, 1, 2, 3, 4, 5, 6.0], "an id is 6.0, a float; expected texts or ints"),
        ([False, 1, 2, 3, 4, 5, 6], "an id is False, a bool; expected texts or ints"),
        (list(torch.arange(N)), r"an id is tensor\(0\), a Tensor; expected texts or ints"),
        ([0, 1], "ids has 2 entries for 7 examples"),
        ("abcdefg", "ids is of type str; expected a list"),
        (torch.arange(N), r"ids is of type Tensor; expected a list .*\.tolist\(\)"),
        (7, "ids is of type int; expected a list"),
    ],
    ids=str,
)
def test_odd_ids_are_refused_before_the_folder_is_made(tmp_path, ids, said):
    with pytest.raises(InputError, match=said):
        GradientStore.build(make(), tmp_path / "s", ids=ids)
    assert not (tmp_path / "s").exists()
    if ids != [0, 1]:
        with pytest.raises(InputError, match=said):
            GradientStore.build(make(influence_src_dataset=Stream()), tmp_path / "s", ids=ids)
        assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("ids", "came"),
    [(5, "5"), ("abc", "'abc'"), (torch.tensor([5]), r"tensor\(\[5\]\)"), (None, "None")],
)
def test_deleting_what_is_no_list_of_ids_says_so(tmp_path, ids, came):
    store = GradientStore.build(make(), tmp_path / "s")
    with pytest.raises(InputError, match=rf"ids is {came}; expected a list of ids.*\.tolist\(\)"):
        store.delete(ids)
    with pytest.raises(InputError, match=r"an id is \[5\], a list; expected texts or ints"):
        store.delete([[5]])
    with pytest.raises(InputError, match="an id is True, a bool"):
        store.delete([True])
    assert len(store) == N


def test_checkpoints_from_a_generator_are_refused_before_the_folder_is_made(tmp_path):
    with pytest.raises(InputError, match="the checkpoints come from a generator"):
        GradientStore.build(make(checkpoints=iter(states())), tmp_path / "s")
    assert not (tmp_path / "s").exists()
