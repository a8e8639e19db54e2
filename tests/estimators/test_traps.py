"""The mistakes that implementations of TracIn make, one test or more for each."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import HeadwaterError, InputError
from tests.oracles import tracin

from .small import (
    QUERIES,
    RATES,
    TRAINING,
    N,
    Q,
    Small,
    assert_close,
    cross_entropy,
    dataset,
    expected_scores,
    expected_self_influence,
    make,
    model,
    singles,
    states,
)


def test_the_bias_of_the_final_layer_counts():
    both = make(layers=["fc"]).influence(*QUERIES)
    assert_close(both, expected_scores(["fc.weight", "fc.bias"]))
    assert not torch.allclose(both, expected_scores(["fc.weight"]))


def test_the_rate_enters_once_and_not_squared():
    first, second = (
        make(checkpoints=[state], learning_rates=[1.0]).influence(*QUERIES) for state in states()
    )
    assert_close(make(learning_rates=[0.3, 0.07]).influence(*QUERIES), 0.3 * first + 0.07 * second)
    self_first, self_second = (
        make(checkpoints=[state], learning_rates=[1.0]).influence() for state in states()
    )
    assert_close(
        make(learning_rates=[0.3, 0.07]).influence(), 0.3 * self_first + 0.07 * self_second
    )


def test_each_rate_goes_with_its_own_checkpoint():
    swapped = make(learning_rates=RATES[::-1]).influence(*QUERIES)
    assert_close(swapped, expected_scores(rates=RATES[::-1]))
    assert not torch.allclose(swapped, expected_scores())


CALLS = {
    "self-influence": lambda estimator: estimator.influence(),
    "scores": lambda estimator: estimator.influence(*QUERIES),
    "top-k": lambda estimator: estimator.influence(*QUERIES, k=2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_each_checkpoint_is_loaded_once_a_call(call, batch_size):
    loaded = []

    def load(module, number):
        loaded.append(number)
        module.load_state_dict(states()[number])
        return RATES[number]

    estimator = make(
        checkpoints=[0, 1],
        checkpoints_load_func=load,
        learning_rates=None,
        batch_size=batch_size,
    )
    loaded.clear()
    call(estimator)
    assert loaded == [0, 1]
    call(estimator)
    assert loaded == [0, 1, 0, 1]


class Recorder(Small):
    """Remembers the rows that it is shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach())
        return super().forward(x)

    def times(self, row) -> int:
        return sum(torch.equal(row, other) for x in self.seen for other in x.reshape(-1, 5))


@pytest.mark.parametrize("k", [None, 2])
def test_gradients_of_queries_are_made_once_for_a_checkpoint_and_not_for_each_batch(k):
    times = []
    for repeats in (1, 10):
        module = model(kind=Recorder)
        data = TensorDataset(*(part.repeat(repeats, *[1] * (part.ndim - 1)) for part in TRAINING))
        make(
            model=module,
            influence_src_dataset=data,
            checkpoints=states(Recorder),
            layers=["fc"],
        ).influence(*QUERIES, k=k)
        times.append(module.times(QUERIES[0][0]))
    assert times[0] == times[1] >= 2


def test_a_parameter_that_is_unused_changes_no_score():
    class Spare(Small):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(2, 3)

    # The other parameters are drawn first, so they are those of Small.
    checkpoints = [
        {**s, "spare.weight": torch.ones(3, 2), "spare.bias": torch.ones(3)} for s in states()
    ]
    estimator = make(model=model(kind=Spare), checkpoints=checkpoints)
    assert_close(estimator.influence(*QUERIES), expected_scores())


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.norm = nn.BatchNorm1d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(torch.tanh(self.norm(self.fc1(x))))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_evaluated_in_eval_mode_whatever_mode_the_model_is_in(training):
    module = model(kind=Normed).train(training)
    expected = tracin.influence_scores(
        model(kind=Normed),
        list(zip(states(Normed), RATES, strict=True)),
        lambda m, e: cross_entropy(m(e[0]), e[1]).squeeze(0),
        singles(*TRAINING),
        singles(*QUERIES),
        tracin.trainable_names(module),
    )
    estimator = make(model=module, checkpoints=states(Normed))
    assert_close(estimator.influence(*QUERIES), expected)
    assert module.training is training
    assert module.norm.training is training


class CoupledNorm(nn.Module):
    """Without running statistics, eval mode too uses those of the batch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(5, track_running_stats=False)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(self.norm(x))


def test_a_batch_norm_that_couples_examples_in_eval_mode_is_refused():
    estimator = make(model=model(kind=CoupledNorm), checkpoints=states(CoupledNorm))
    with pytest.raises((HeadwaterError, ValueError)):
        estimator.influence(*QUERIES)


class FrequencyScaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(4, 3, scale_grad_by_freq=True)

    def forward(self, x):
        return torch.tanh(self.embed(x)).mean(1)


def test_gradients_scaled_by_frequency_in_the_batch_are_right_or_refused():
    """`scale_grad_by_freq` divides by a count over the whole batch: an example's own differs."""
    ids = torch.tensor([[0, 0], [0, 1], [2, 3], [1, 1], [3, 2], [0, 3], [2, 2]])
    y = TRAINING[1]

    expected = tracin.self_influence(
        model(kind=FrequencyScaled),
        list(zip(states(FrequencyScaled), RATES, strict=True)),
        lambda m, e: cross_entropy(m(e[0]), e[1]).squeeze(0),
        singles(ids, y),
        ["embed.weight"],
    )
    estimator = make(
        model=model(kind=FrequencyScaled),
        checkpoints=states(FrequencyScaled),
        influence_src_dataset=TensorDataset(ids, y),
    )
    try:
        got = estimator.influence()
    except HeadwaterError:
        return
    assert_close(got, expected)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_class_weights_are_right_where_losses_are_not_averaged(reduction):
    weight = torch.tensor([0.2, 1.0, 3.0]).double()
    one = nn.CrossEntropyLoss(weight=weight, reduction="sum")
    estimator = make(
        loss_fn=nn.CrossEntropyLoss(weight=weight, reduction=reduction),
        sample_wise_grads_per_batch=reduction == "sum",
    )
    expected = expected_scores(loss=lambda m, e: one(m(e[0]), e[1]))
    assert_close(estimator.influence(*QUERIES), expected)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="sum")])
def test_the_last_short_batch_is_scaled_by_its_own_size(loss):
    estimator = make(loss_fn=loss, sample_wise_grads_per_batch=True, batch_size=3)
    assert_close(estimator.influence(*QUERIES), expected_scores())
    assert_close(estimator.influence(), expected_self_influence())


def test_a_last_batch_of_one_example_is_no_special_case():
    assert N % 6 == 1
    assert_close(make(batch_size=6).influence(*QUERIES), expected_scores())
    assert_close(
        make(
            batch_size=6, loss_fn=nn.CrossEntropyLoss(), sample_wise_grads_per_batch=True
        ).influence(),
        expected_self_influence(),
    )


@pytest.mark.parametrize("proponents", [True, False])
def test_k_beyond_the_training_set_gives_all_of_it(proponents):
    top = make().influence(*QUERIES, k=N + 5, proponents=proponents)
    indices, scores = tracin.top_k(expected_scores(), N, proponents)
    assert torch.equal(top.indices, indices)
    assert_close(top.influence_scores, scores)


def test_k_of_zero_gives_rows_without_columns():
    top = make().influence(*QUERIES, k=0)
    assert top.indices.shape == top.influence_scores.shape == (Q, 0)
    assert top.indices.dtype == torch.int64
    assert top.influence_scores.dtype == torch.float64


def test_k_below_zero_is_an_error():
    with pytest.raises(InputError, match="-1"):
        make().influence(*QUERIES, k=-1)


def test_a_forward_that_raises_leaves_no_hook_behind():
    class Raises(Small):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("from the user's forward")

    module = model(kind=Raises)
    with pytest.raises(RuntimeError, match="from the user's forward"):
        make(model=module, checkpoints=states(Raises)).influence(*QUERIES)
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_hooks
        assert not part._backward_pre_hooks
    assert all(not p._backward_hooks for p in module.parameters())


def test_the_users_gradients_survive():
    module = model()
    for p in module.parameters():
        p.grad = torch.full_like(p, 7.0)
    before = {name: p.grad for name, p in module.named_parameters()}
    make(model=module).influence(*QUERIES)
    make(model=module).influence()
    for name, p in module.named_parameters():
        assert p.grad is before[name]
        assert p.grad.eq(7.0).all()


def test_two_calls_give_the_same_numbers():
    estimator = make(model=model().train())
    for call in CALLS.values():
        first, second = call(estimator), call(estimator)
        for a, b in zip(first, second, strict=True):
            assert torch.equal(a, b)


def test_dropout_that_never_stops_is_noticed_or_refused():
    """`F.dropout` with its default `training=True` draws anew in each forward, eval mode or not."""

    class Noisy(Small):
        def forward(self, x):
            return super().forward(nn.functional.dropout(x, 0.5))

    estimator = make(model=model(kind=Noisy), checkpoints=states(Noisy))
    try:
        first = estimator.influence()
    except HeadwaterError:
        return
    assert torch.equal(first, estimator.influence())


class PairsNormed(nn.Module):
    """Two numbers normalised are plus and minus one: almost no gradient passes, by cancellation."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.norm = nn.GroupNorm(2, 4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(torch.tanh(self.norm(self.fc1(x))))


def test_a_gradient_that_cancels_in_float32_is_no_disagreement():
    checkpoints = list(zip(states(PairsNormed), RATES, strict=True))
    module = model(kind=PairsNormed)
    expected = tracin.influence_scores(
        model(kind=PairsNormed),
        checkpoints,
        lambda m, e: cross_entropy(m(e[0]), e[1]).squeeze(0),
        singles(*TRAINING),
        singles(*QUERIES),
        tracin.trainable_names(module),
    )
    estimator = make(
        model=module.float(),
        checkpoints=states(PairsNormed),
        influence_src_dataset=TensorDataset(TRAINING[0].float(), TRAINING[1]),
    )
    scores = estimator.influence(QUERIES[0].float(), QUERIES[1]).double()
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_rows_in_a_loader_of_worker_processes_keep_their_order():
    loader = DataLoader(dataset(), batch_size=2, num_workers=1)
    assert_close(make(influence_src_dataset=loader).influence(*QUERIES), expected_scores())


def test_the_training_data_may_change_its_random_state_without_changing_a_score():
    class Draws(TensorDataset):
        def __getitem__(self, n):
            torch.rand(3)
            return super().__getitem__(n)

    estimator = make(influence_src_dataset=Draws(*TRAINING))
    assert_close(estimator.influence(*QUERIES), expected_scores())
