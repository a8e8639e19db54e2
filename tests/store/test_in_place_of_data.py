"""An estimator that is given a store where it takes a dataset and checkpoints."""

import pytest
import torch
from torch.utils.data import TensorDataset

from headwater import (
    TRAK,
    GradDot,
    GradientStore,
    InputError,
    LoGra,
    Projected,
    StoreMismatchError,
    StoreNotFoundError,
    TracInCPFast,
)
from tests.estimators.final_layers import Plain
from tests.estimators.small import (
    QUERIES,
    TRAINING,
    assert_close,
    expected_scores,
    expected_self_influence,
    make,
    states,
)
from tests.estimators.test_tracincp_fast import fast, oracle
from tests.estimators.test_tracincp_fast_rand_proj import rand_proj
from tests.methods.common import make as made
from tests.oracles import tracin


class Untouchable(TensorDataset):
    """Data that can be read once, for the build."""

    gone = False

    def __getitem__(self, index):
        assert not self.gone
        return super().__getitem__(index)


@pytest.fixture
def path(tmp_path):
    data = Untouchable(*TRAINING)
    GradientStore.build(make(influence_src_dataset=data), tmp_path / "s", dtype="float64")
    data.gone = True
    return tmp_path / "s"


def opened(path):
    return GradientStore.open(path, make())


@pytest.mark.parametrize("kind", [str, lambda path: path, opened], ids=["text", "path", "store"])
def test_it_answers_all_three_questions(path, kind):
    estimator = make(influence_src_dataset=kind(path))
    scores = expected_scores()
    assert_close(estimator.influence(*QUERIES), scores)
    assert_close(estimator.influence(), expected_self_influence())
    for proponents in (True, False):
        indices, values = estimator.influence(*QUERIES, k=3, proponents=proponents)
        expected, expected_values = tracin.top_k(scores, 3, proponents)
        assert torch.equal(indices, expected)
        assert_close(values, expected_values)


@pytest.mark.parametrize("kind", [GradDot, TRAK, LoGra])
def test_an_open_store_is_as_good_as_its_folder(kind, tmp_path):
    options = {"dim": 4} if kind in (TRAK, LoGra) else {}
    store = GradientStore.build(made(kind, **options), tmp_path / "s", dtype="float64")
    by_object, by_folder = (made(kind, data=d, **options) for d in (store, tmp_path / "s"))
    assert torch.equal(by_object.influence(*QUERIES), by_folder.influence(*QUERIES))
    assert repr(by_object) == repr(by_folder)
    assert by_object.attribute(*QUERIES).meaning == by_folder.attribute(*QUERIES).meaning
    with pytest.raises(InputError, match=r"answers from the store at .*/s'? itself"):
        GradientStore.build(by_object, tmp_path / "t")


def test_what_is_neither_data_nor_a_store_is_told_of_both():
    with pytest.raises(InputError, match=r"is a int; .*or a DataLoader, or the folder of a Grad"):
        make(influence_src_dataset=5)


def test_without_checkpoints_it_answers_self_influence(path):
    estimator = make(influence_src_dataset=path, checkpoints=None, learning_rates=None)
    assert_close(estimator.influence(), expected_self_influence())
    for k in (None, 2):
        with pytest.raises(InputError, match=r"a query's own gradient is taken at the checkpoints"):
            estimator.influence(*QUERIES, k=k)


def test_a_projected_store_answers_as_it_does_itself(tmp_path):
    form = Projected(6, seed=3)
    store = GradientStore.build(make(), tmp_path / "s", form=form, dtype="float64")
    for given in (None, form):
        estimator = make(influence_src_dataset=tmp_path / "s", form=given)
        assert_close(estimator.influence(*QUERIES), store.scores(*QUERIES))
    with pytest.raises(StoreMismatchError, match="field 'form'"):
        make(influence_src_dataset=tmp_path / "s", form=Projected(6, seed=4))


def test_the_last_layer_alone(tmp_path):
    GradientStore.build(fast(Plain), tmp_path / "s", dtype="float64")
    estimator = fast(Plain, influence_src_dataset=tmp_path / "s")
    assert isinstance(estimator, TracInCPFast)
    scores, own = oracle(Plain)
    assert_close(estimator.influence(*QUERIES), scores)
    assert_close(estimator.influence(), own)


def test_it_sees_what_was_deleted_before_it_was_made(path):
    GradientStore.open(path, make()).delete([2])
    keep = [0, 1, 3, 4, 5, 6]
    scores = make(influence_src_dataset=path).influence(*QUERIES)
    assert_close(scores, expected_scores()[:, keep])


def test_what_does_not_match_is_refused_when_it_is_made(path, tmp_path):
    with pytest.raises(StoreMismatchError, match="field 'learning_rates'"):
        make(influence_src_dataset=path, learning_rates=[0.3, 0.08])
    with pytest.raises(StoreMismatchError, match="field 'checkpoints'"):
        make(influence_src_dataset=path, checkpoints=states()[::-1])
    with pytest.raises(StoreMismatchError, match="field 'selection'"):
        make(influence_src_dataset=path, layers=["fc"])
    with pytest.raises(StoreNotFoundError):
        make(influence_src_dataset=tmp_path / "nothing")
    with pytest.raises(InputError, match=r"answers from the store at .* itself"):
        GradientStore.open(path, make(influence_src_dataset=path))
    with pytest.raises(InputError, match="influence_src_dataset is a store, but the vectors"):
        rand_proj(influence_src_dataset=str(path))
