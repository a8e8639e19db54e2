"""What estimators and stores look like in a notebook."""

from headwater import GradientStore, Projected, StoreTopK
from tests.estimators.small import QUERIES, Stream, make, states
from tests.estimators.test_tracincp_fast_rand_proj import rand_proj


def test_estimators_say_model_examples_and_checkpoints():
    assert repr(make()) == "TracInCP(model=Small, examples=7, checkpoints=2)"
    assert repr(rand_proj()) == "TracInCPFastRandProj(model=Plain, examples=7, checkpoints=2)"
    assert repr(make(influence_src_dataset=Stream())) == "TracInCP(model=Small, checkpoints=2)"
    assert repr(make(checkpoints=iter(states()))) == "TracInCP(model=Small, examples=7)"


def test_stores_say_where_what_and_how_much(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = GradientStore.build(make(), "s")
    assert repr(store) == "GradientStore('s', examples=7, form='factored', dtype='float32')"
    store.delete([1])
    assert "examples=6" in repr(store)
    small = GradientStore.build(make(), "p", form=Projected(4, seed=1), dtype="float16")
    assert "form=Projected(dim=4, seed=1), dtype='float16'" in repr(small)
    estimator = make(influence_src_dataset="s")
    assert repr(estimator) == "TracInCP(model=Small, store='s', checkpoints=2)"
    assert isinstance(store.top_k(*QUERIES), StoreTopK)
