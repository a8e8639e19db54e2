"""TRAK against its formula, with the projection matrices written out."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import (
    TRAK,
    BatchError,
    CheckpointError,
    GradDot,
    GradientStore,
    InputError,
    LoGra,
    Projected,
    StoreMismatchError,
)
from headwater.tasks import Autocast, LogOdds
from tests.estimators.small import (
    QUERIES,
    TRAINING,
    Stream,
    cross_entropy,
    labels,
    model,
    states,
)
from tests.estimators.small import (
    rows as drawn,
)
from tests.oracles import methods, tracin

from .common import assert_close, make, matrix_of, random_numbers_left_alone, rows

DIM, SEED = 9, 4


def log_odds_of_one(module, example):
    """log(p / (1 - p)) as it stands, from probabilities."""
    x, y = example
    p = module(x).softmax(dim=1)[0, int(y)]
    return torch.log(p / (1 - p))


def right_answers(checkpoints=None):
    module, found = model().eval(), []
    for state in states() if checkpoints is None else checkpoints:
        module.load_state_dict(state)
        found.append(module(TRAINING[0]).softmax(dim=1)[range(7), TRAINING[1]].detach())
    return found


def expected(damping, checkpoints=None, dim=DIM):
    queries, training = rows(log_odds_of_one, checkpoints)
    matrices = [matrix_of(Projected(dim, SEED), place) for place in range(len(queries))]
    right = right_answers(checkpoints)
    return methods.trak(queries, training, right, matrices, damping)


@pytest.fixture
def trak():
    return make(TRAK, dim=DIM, seed=SEED, loss_fn=None)


# Of more numbers than there are examples, and of fewer.
@pytest.mark.parametrize("dim", [DIM, 5])
@pytest.mark.parametrize("damping", ["auto", 0.3])
def test_scores_are_the_product_of_two_means(damping, dim):
    estimator = make(TRAK, dim=dim, seed=SEED, damping=damping, loss_fn=None)
    with random_numbers_left_alone():
        got = estimator.influence(*QUERIES)
    by_hand = expected(damping, dim=dim)
    assert_close(got, by_hand)
    top = estimator.influence(*QUERIES, k=3)
    assert torch.equal(top.indices, tracin.top_k(by_hand, 3)[0])
    # What is kept of the first question changes nothing in the next.
    assert_close(estimator.influence(*QUERIES), got)


def test_a_mean_of_products_would_be_another_score(trak):
    queries, training = rows(log_odds_of_one)
    each = [
        methods.trak([q], [n], [p], [matrix_of(Projected(DIM, SEED), place)], "auto")
        for place, (q, n, p) in enumerate(zip(queries, training, right_answers(), strict=True))
    ]
    assert (sum(each) / 2 - trak.influence(*QUERIES)).abs().max() > 1e-4


def test_self_influence_is_the_score_of_an_example_with_itself(trak):
    alone = trak.influence(*TRAINING)
    assert_close(trak.influence(), alone.diagonal())


def test_several_runs_are_one_list(trak):
    first, second = states()
    runs = make(TRAK, dim=DIM, seed=SEED, loss_fn=None, checkpoints=[[first], [second]])
    assert_close(runs.influence(*QUERIES), trak.influence(*QUERIES))
    with pytest.raises(CheckpointError, match="of checkpoints and of lists"):
        make(TRAK, loss_fn=None, checkpoints=[[first], second])


def test_a_single_model_is_one_list(trak):
    one = make(TRAK, dim=DIM, seed=SEED, loss_fn=None, checkpoints=states()[:1])
    assert_close(one.influence(*QUERIES), expected("auto", states()[:1]))


def test_with_all_dimensions_and_no_damping_scores_do_not_depend_on_the_projection():
    # 5 examples of a line in 2 dimensions: phi^T (Phi^T Phi)^-1 phi is the same in any basis.
    net = nn.Linear(2, 1, bias=False).double()
    data = TensorDataset(drawn(5, 1, 2), labels(5, 2, classes=2))
    queries = drawn(2, 3, 2), torch.tensor([1, 0])
    by_seed = [
        TRAK(net, data, [dict(net.state_dict())], dim=2, seed=seed, damping=0.0).influence(*queries)
        for seed in (0, 8)
    ]
    assert_close(by_seed[0], by_seed[1])


def test_the_loss_may_be_said_and_is_a_log_likelihood(trak):
    for loss in (nn.CrossEntropyLoss(reduction="none"), cross_entropy):
        said = make(TRAK, dim=DIM, seed=SEED, loss_fn=loss)
        assert_close(said.influence(*QUERIES), trak.influence(*QUERIES))


def test_losses_may_be_computed_in_mixed_precision():
    exact = make(TRAK, dim=DIM, seed=SEED, loss_fn=None, damping=0.3).influence(*QUERIES)
    task = Autocast(cross_entropy)
    rounded = make(TRAK, dim=DIM, seed=SEED, loss_fn=None, damping=0.3, task=task)
    got = rounded.influence(list(QUERIES))
    assert (got - exact).abs().max() < 0.1 * exact.abs().max()


def test_a_stream_that_does_not_fit_is_read_again():
    plain = make(TRAK, dim=DIM, seed=SEED, loss_fn=None).influence(*QUERIES)
    small = make(TRAK, dim=DIM, seed=SEED, loss_fn=None, memory_budget=200)
    assert_close(small.influence(*QUERIES), plain)
    stream = make(TRAK, dim=DIM, seed=SEED, loss_fn=None, data=Stream())
    assert_close(stream.influence(*QUERIES), plain)


def test_one_logit_per_example():
    net = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    targets = labels(7, 5, classes=2)
    batch = [TRAINING[0], targets.double()]
    p = net(TRAINING[0])[:, 0].sigmoid()
    p = torch.where(targets == 1, p, 1 - p)
    assert_close(LogOdds().losses(net, batch).detach(), torch.log(p / (1 - p)).detach())
    scores = TRAK(net, TensorDataset(*batch), [dict(net.state_dict())], dim=4).influence(
        TRAINING[0][:2], targets[:2].double()
    )
    assert scores.shape == (2, 7)
    odd = TensorDataset(TRAINING[0], targets.double() + 1)
    with pytest.raises(BatchError, match="a target is"):
        TRAK(net, odd, [dict(net.state_dict())]).influence(TRAINING[0][:2], targets[:2].double())


def test_log_odds_near_certainty_keep_their_precision():
    logits = torch.tensor([[30.0, 0.0, -5.0]], requires_grad=True)
    odds = LogOdds().losses(lambda x: x, (logits, torch.tensor([0])))
    assert odds.item() == pytest.approx(30 - torch.tensor([0.0, -5.0]).logsumexp(0).item())


def test_what_is_no_classifier_is_refused():
    net = nn.Linear(5, 3).double()
    ones = torch.ones(7, 3).double()
    for targets in (ones, ones.long(), ones[:, 0]):
        with pytest.raises(BatchError, match="those of a classifier"):
            LogOdds().summed(net, (TRAINING[0], targets))


@pytest.mark.parametrize(
    "wrong", [{"dim": 0}, {"seed": 0.5}, {"damping": -1.0}, {"damping": "automatic"}]
)
def test_odd_options_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        make(TRAK, loss_fn=None, **wrong)


def test_a_single_query_without_a_batch_is_said():
    with pytest.raises(BatchError, match=r"looks like a single query; .*inputs\[None\]"):
        make(TRAK, loss_fn=None, dim=DIM).influence(QUERIES[0][0], QUERIES[1][0])


def test_too_little_damping_is_said():
    with pytest.raises(
        InputError,
        match=r"40 x 40 .*gradients, projected to dim numbers, at checkpoint 0 .*or lower dim",
    ):
        make(TRAK, loss_fn=None, dim=40, damping=0.0).influence(*QUERIES)


def test_a_store_gives_the_scores_and_appended_examples_count(tmp_path, trak):
    store = GradientStore.build(trak, tmp_path / "s", dtype="float64")
    assert "TRAK(dim=9, seed=4)" in repr(store)
    assert_close(store.scores(*QUERIES), expected("auto"))
    assert_close(store.self_influence(), trak.influence())
    opened = GradientStore.open(tmp_path / "s", trak)
    top = opened.top_k(*QUERIES, k=2, side="opponents")
    assert torch.equal(top.indices, tracin.top_k(expected("auto"), 2, proponents=False)[0])
    from_store = make(TRAK, dim=DIM, seed=SEED, loss_fn=None, data=str(tmp_path / "s"))
    assert_close(from_store.influence(*QUERIES), expected("auto"))
    summed = opened.attribute(*QUERIES).over_queries().tensor()
    assert_close(summed[0], expected("auto").sum(dim=0))

    more = drawn(2, 30, 5), labels(2, 31)
    store.append(TensorDataset(*more))
    store.delete([0, 3])
    kept = [1, 2, 4, 5, 6]
    data = TensorDataset(
        torch.cat([TRAINING[0][kept], more[0]]), torch.cat([TRAINING[1][kept], more[1]])
    )
    fresh = make(TRAK, dim=DIM, seed=SEED, loss_fn=None, data=data)
    assert_close(store.scores(*QUERIES), fresh.influence(*QUERIES))
    store.compact()
    assert_close(store.scores(*QUERIES), fresh.influence(*QUERIES))


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [TRAK, LoGra])
def test_what_a_store_keeps_needs_not_be_the_models_precision(tmp_path, kind, precision, dtype):
    net, (x, y) = model().to(precision), QUERIES
    data = TensorDataset(TRAINING[0].to(precision), TRAINING[1])
    checkpoint = {name: value.to(precision) for name, value in states()[0].items()}
    estimator = kind(net, data, [checkpoint], dim=4, loss_fn=cross_entropy)
    store = GradientStore.build(estimator, tmp_path / "s", dtype=dtype)
    tolerance = 0.1 if dtype == "bfloat16" else 1e-3
    expected = estimator.influence(x.to(precision), y)
    found = store.scores(x.to(precision), y)
    assert float((found - expected).norm()) < tolerance * float(expected.norm())


def test_a_store_of_other_vectors_is_refused(tmp_path, trak):
    GradientStore.build(trak, tmp_path / "s")
    for kind, options in (
        (TRAK, {"dim": DIM + 1, "seed": SEED, "loss_fn": None}),
        (TRAK, {"dim": DIM, "seed": SEED + 1, "loss_fn": None}),
        (LoGra, {"dim": DIM}),
        (GradDot, {}),
    ):
        other = make(kind, **options)
        with pytest.raises(StoreMismatchError, match=r"loss|form"):
            GradientStore.open(tmp_path / "s", other)
        with pytest.raises(StoreMismatchError, match=r"loss|form"):
            make(kind, **options, data=str(tmp_path / "s"))
    with pytest.raises(InputError, match="keeps its own vectors"):
        GradientStore.build(trak, tmp_path / "t", form=Projected(4))
    store = GradientStore.open(tmp_path / "s", trak)
    with pytest.raises(InputError, match="recompute is for stores of TracIn's"):
        store.top_k(*QUERIES, k=1, recompute=3)
