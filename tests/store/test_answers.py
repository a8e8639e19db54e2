"""A store's answers are its estimator's, through everything that can happen to a store."""

import subprocess
import sys

import pytest
import torch
from torch.utils.data import TensorDataset

from headwater import GradientStore, InputError, Projected, TracInCPFastRandProj
from headwater.estimators.stored import writing as store_writing
from tests.architectures.zoo import BY_NAME
from tests.estimators.reference import assert_scores_close, reference
from tests.estimators.small import (
    QUERIES,
    TRAINING,
    N,
    assert_close,
    expected_scores,
    expected_self_influence,
    labels,
    make,
    rows,
)
from tests.estimators.test_tracincp_fast import fast, oracle
from tests.oracles import tracin

EXACT = ["factored", "materialised"]
exact_forms = pytest.mark.parametrize("form", EXACT)
MORE = (rows(5, 30, 5), labels(5, 31))


@pytest.fixture(params=[1, 2**30], ids=["a shard a batch", "one shard"], autouse=True)
def shard_bytes(request, monkeypatch):
    monkeypatch.setattr(store_writing, "SHARD_BYTES", request.param)


def build(path, form="factored", estimator=None, dtype="float64", **options):
    return GradientStore.build(estimator or make(), path / "s", form=form, dtype=dtype, **options)


def with_more():
    training = tuple(torch.cat(pair) for pair in zip(TRAINING, MORE, strict=True))
    return make(influence_src_dataset=TensorDataset(*training))


def check(store, scores, own):
    assert_close(store.scores(*QUERIES), scores)
    assert_close(store.self_influence(), own)
    for side in ("proponents", "opponents"):
        top = store.top_k(*QUERIES, k=3, side=side)
        indices, values = tracin.top_k(scores, 3, side == "proponents")
        assert torch.equal(top.indices, indices)
        assert_close(top.influence_scores, values)
        assert top.ids == [[store.ids[place] for place in row] for row in indices.tolist()]
        assert bool(top.exact.all())


@exact_forms
def test_exact_forms_equal_the_oracle(tmp_path, form):
    store = build(tmp_path, form)
    check(store, expected_scores(), expected_self_influence())
    assert len(store) == N
    assert store.ids == list(range(N))
    store.verify()


@pytest.mark.parametrize(
    "name",
    [
        "gpt_with_tied_head",
        "embedding_bag_with_learned_weights",
        "depthwise_cnn",
        "lstm_batch_first",
        "u_net",
        "mixture_of_experts",
        "used_by_some_examples_only",
        "conv1d_of_hugging_face_on_sequences",
    ],
)
def test_every_kind_of_form_survives_the_disk(tmp_path, name):
    from tests.estimators.test_tracincp_against_oracle import estimator, queries

    architecture = BY_NAME[name]
    store = build(tmp_path, estimator=estimator(architecture))
    assert_scores_close(store.scores(*queries(architecture)), reference(name).scores, 1e-10)
    assert_scores_close(store.self_influence(), reference(name).self_influence, 1e-10)


def test_the_final_layer_alone_is_stored_too(tmp_path):
    from tests.estimators.final_layers import Plain

    check(build(tmp_path, estimator=fast(Plain)), *oracle(Plain))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 3e-2), ("float16", 3e-3)]
)
@exact_forms
def test_lower_precision_is_exact_to_its_rounding(tmp_path, form, dtype, tolerance):
    store = build(tmp_path, form, dtype=dtype)
    expected = expected_scores()
    scale = float(expected.abs().max())
    torch.testing.assert_close(
        store.scores(*QUERIES), expected, rtol=tolerance, atol=tolerance * scale
    )


def test_small_gradients_do_not_vanish_in_float16(tmp_path):
    def tiny(predictions, targets):
        return 1e-7 * torch.nn.functional.cross_entropy(predictions, targets, reduction="none")

    found = build(tmp_path, estimator=make(loss_fn=tiny), dtype="float16").self_influence()
    expected = 1e-14 * expected_self_influence()
    torch.testing.assert_close(found.double(), expected, rtol=3e-3, atol=0)


def test_projected_stores_hold_the_vectors_of_rand_proj(tmp_path):
    from tests.estimators.final_layers import Plain
    from tests.estimators.test_tracincp_fast_rand_proj import rand_proj

    store = build(tmp_path, Projected(6, seed=2), estimator=fast(Plain))
    vectors: TracInCPFastRandProj = rand_proj(projection_dim=6, seed=2)
    assert_close(store.scores(*QUERIES), vectors.influence(*QUERIES))
    assert_close(store.self_influence(), vectors.influence())
    assert not bool(store.top_k(*QUERIES, k=2).exact.any())
    assert store.info()["form"] == {"kind": "projected", "dim": 6, "seed": 2}


@pytest.mark.parametrize("form", [*EXACT, Projected(6, seed=1)], ids=str)
def test_append_delete_compact_and_reopen(tmp_path, form):
    store = build(tmp_path, form)
    store.append(TensorDataset(*MORE))
    whole = build(tmp_path / "whole", form, estimator=with_more())
    assert_close(store.scores(*QUERIES), whole.scores(*QUERIES))
    assert store.ids == list(range(N + 5))

    store.delete([1, 2, N])
    keep = [n for n in range(N + 5) if n not in (1, 2, N)]
    for _ in range(2):
        assert store.ids == keep
        assert_close(store.scores(*QUERIES), whole.scores(*QUERIES)[:, keep])
        assert_close(store.self_influence(), whole.self_influence()[keep])
        reopened = GradientStore.open(tmp_path / "s", make())
        assert_close(reopened.scores(*QUERIES), whole.scores(*QUERIES)[:, keep])
        assert reopened.ids == keep
        store.compact()
    assert store.info()["deleted_but_on_disk"] == 0
    store.verify()
    # Ids of deleted examples are never given again.
    store.append(TensorDataset(*MORE))
    assert store.ids == [*keep, *range(N + 5, N + 10)]


def test_numbers_of_a_deleted_example_are_gone_from_the_disk_after_compaction(tmp_path):
    store = build(tmp_path, "materialised", dtype="float32")
    shard = store._snapshot.shards[0]
    like = torch.empty(0, dtype=torch.float32)
    part = shard.gradients(0, 1, like)[0]
    needle = next(iter(part.forms.values())).materialise()[0].numpy().tobytes()

    def on_disk():
        return any(needle in path.read_bytes() for path in (tmp_path / "s").iterdir())

    assert on_disk()
    store.delete([0])
    assert on_disk()
    store.compact()
    assert not on_disk()


def test_everything_may_be_deleted(tmp_path):
    store = build(tmp_path)
    store.delete(range(N))
    store.compact()
    assert len(store) == 0
    assert store.top_k(*QUERIES, k=3).indices.shape == (2, 0)
    store.append(TensorDataset(*MORE))
    assert len(store) == 5


def test_ids_are_the_users_own(tmp_path):
    names = [f"row «{n}»" for n in range(N)]
    store = build(tmp_path, ids=names)
    assert store.ids == names
    store.delete(["row «3»"])
    store.append(TensorDataset(*MORE), ids=[*"abcde"])
    store.compact()
    expected = [name for name in names if name != "row «3»"] + [*"abcde"]
    assert GradientStore.open(tmp_path / "s", make()).ids == expected
    top = store.top_k(*QUERIES, k=2)
    assert all(one in expected for row in top.ids for one in row)


def test_ids_that_cannot_be_are_refused_and_nothing_changes(tmp_path):
    store = build(tmp_path)
    before = {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()}
    with pytest.raises(InputError, match="the id 2 is there already"):
        store.append(TensorDataset(*MORE), ids=[9, 8, 2, 7, 6])
    with pytest.raises(InputError, match="the id 'a' is there already"):
        store.append(TensorDataset(*MORE), ids=[*"abaca"])
    with pytest.raises(InputError, match="ids has 2 entries for 5 examples"):
        store.append(TensorDataset(*MORE), ids=[*"ab"])
    with pytest.raises(InputError, match=r"an id is 1.5, a float; expected texts or ints"):
        store.append(TensorDataset(*MORE), ids=[1.5, 1, 2, 3, 4])
    with pytest.raises(InputError, match="no example has the id 99; nothing was deleted"):
        store.delete([1, 99])
    assert {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()} == before
    assert len(store) == N


def test_a_store_opens_in_another_process(tmp_path):
    expected = build(tmp_path).scores(*QUERIES)
    program = (
        "import sys, torch; from headwater import GradientStore;"
        "from tests.estimators.small import QUERIES, make;"
        "torch.save(GradientStore.open(sys.argv[1], make()).scores(*QUERIES), sys.argv[2])"
    )
    arguments = [str(tmp_path / "s"), str(tmp_path / "scores.pt")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    assert torch.equal(torch.load(tmp_path / "scores.pt", weights_only=True), expected)


def test_many_queries_and_odd_arguments(tmp_path):
    store = build(tmp_path)
    inputs, targets = rows(600, 9, 5), labels(600, 8)
    assert_close(store.scores(inputs, targets), make().influence(inputs, targets))
    with pytest.raises(InputError, match="k is -1"):
        store.top_k(*QUERIES, k=-1)
    with pytest.raises(InputError, match="side is 'both'; expected 'proponents' or 'opponents'"):
        store.top_k(*QUERIES, side="both")
    with pytest.raises(InputError, match="dtype is 'int8'; expected one of"):
        build(tmp_path / "other", dtype="int8")
    with pytest.raises(InputError, match="form is 'dense'; expected 'factored', 'materialised' or"):
        build(tmp_path / "other", form="dense")
    with pytest.raises(InputError, match="estimator is a list; a store is built from"):
        build(tmp_path / "other", estimator=[1])


def test_layers_that_a_store_leaves_out_stay_trainable(tmp_path):
    estimator = make(layers=["fc"])
    store = build(tmp_path, estimator=estimator)
    store.scores(*QUERIES)
    assert all(parameter.requires_grad for parameter in estimator.model.parameters())
