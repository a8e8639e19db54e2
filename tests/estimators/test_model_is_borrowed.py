"""After a call the model and the process are as they were, also where the call raised."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import HeadwaterError, TracInCP

from .small import N, Q, cross_entropy, labels, model, rows, states
from .snapshot import differences, snapshot


class Borrowed(nn.Module):
    """Each way of capturing is needed, and each kind of state is there."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4, 4))
        self.conv = nn.Conv1d(2, 4, 3)
        self.norm = nn.BatchNorm1d(4)
        self.attention = nn.TransformerEncoderLayer(4, 2, 5, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.adapter = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.tied = nn.Linear(4, 4, bias=False)
        self.frozen = nn.Linear(4, 4)
        self.tied.weight = self.frozen.weight
        self.scaled = nn.Linear(4, 4)
        self.fc = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.fail_at = None  # a function of the input

    def forward(self, x):
        self.calls += 1
        self.scratch.add_(1)
        h = self.attention(self.norm(self.conv(x)).transpose(1, 2) + self.position)
        if self.fail_at is not None and self.fail_at(x):
            raise self.failure
        h = self.frozen(self.drop(torch.tanh(self.adapter(h.mean(1)))))
        return self.fc(torch.tanh(self.scaled(self.tied(h))))


def doubled(module, args, output):
    return 2 * output


def borrowed() -> Borrowed:
    """A model in the middle of a user's work: modes mixed, gradients and hooks in place."""
    module = model(kind=Borrowed)
    module.train()
    module.norm.eval()
    module.attention.dropout1.eval()
    module.frozen.weight.requires_grad_(False)
    module.fc.bias.requires_grad_(False)
    module.fc.weight.grad = torch.full_like(module.fc.weight, 3.0)
    module.position.grad = torch.zeros_like(module.position)
    module.scaled.register_forward_hook(doubled)
    module.conv.register_full_backward_hook(lambda module, grad_input, grad_output: None)
    module.fc.weight.register_hook(lambda grad: grad)
    return module


class DrawsRandomNumbers(TensorDataset):
    """Reading a row draws from all three generators, as augmentations do."""

    def __getitem__(self, n):
        torch.rand(1)
        np.random.rand()
        random.random()
        return super().__getitem__(n)


QUERIES = (rows(Q, 20, 2, 6), labels(Q, 21))
TRAINING = (rows(N, 10, 2, 6), labels(N, 11))


def make(module, training=TRAINING, **options) -> TracInCP:
    arguments = {
        "loss_fn": cross_entropy,
        "batch_size": 3,
        "learning_rates": [0.3, 0.07],
    } | options
    return TracInCP(module, DrawsRandomNumbers(*training), states(Borrowed), **arguments)


CALLS = {
    "self-influence": lambda estimator: estimator.influence(),
    "scores": lambda estimator: estimator.influence(*QUERIES),
    "top-k": lambda estimator: estimator.influence(*QUERIES, k=2),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture(autouse=True)
def generators_are_given_back():
    state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    torch.set_rng_state(state[0])
    np.random.set_state(state[1])
    random.setstate(state[2])


def assert_left_alone(module, before) -> None:
    assert differences(before, snapshot(module)) == []


def test_the_snapshot_notices_a_change_of_each_kind():
    module = borrowed()
    before = snapshot(module)
    assert_left_alone(module, before)
    module.fc.weight.data.add_(1)
    module.fc.weight.grad = None
    module.conv.weight = nn.Parameter(module.conv.weight.detach().clone())
    module.norm.train()
    module.scratch.add_(1)
    module.drop.register_forward_hook(doubled)
    module.adapter.note = "left behind"
    torch.rand(1)
    found = differences(before, snapshot(module))
    for part in (
        "parameter fc.weight: values",
        "parameter fc.weight: grad",
        "parameter conv.weight: identity",
        "module 'norm': training",
        "buffer scratch: values",
        "module 'drop': _forward_hooks",
        "module 'adapter': attributes",
        "process: torch rng",
    ):
        assert part in found


@every_call
@pytest.mark.parametrize("layers", [None, ["frozen"], ["position", "fc"], ["attention", "conv"]])
def test_success_leaves_everything_as_it_was(call, layers):
    module = borrowed()
    before = snapshot(module)
    estimator = make(module, layers=layers)
    assert_left_alone(module, before)
    call(estimator)
    assert_left_alone(module, before)


@every_call
def test_a_model_in_eval_mode_and_without_gradients_is_left_so(call):
    module = borrowed().eval()
    module.zero_grad(set_to_none=True)
    before = snapshot(module)
    call(make(module))
    assert_left_alone(module, before)


@every_call
@pytest.mark.parametrize("enabled", [True, False])
def test_global_flags_that_the_user_set_are_kept(call, enabled):
    module = borrowed()
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        with torch.set_grad_enabled(enabled):
            before = snapshot(module)
            call(make(module))
            assert_left_alone(module, before)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


class Failure(Exception):
    """The user's own."""


def row(n: int):
    """Is training example n in this input? Batches of one, as in the fallback, count too."""
    return lambda x: any(torch.equal(part, TRAINING[0][n]) for part in plain(x))


def plain(x):
    """The rows of an input, or none where `torch.func` has wrapped it."""
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        return []
    return list(x.detach()) if x.ndim == 3 else [x.detach()]


@every_call
@pytest.mark.parametrize("failure", [Failure("in forward"), KeyboardInterrupt()])
@pytest.mark.parametrize("n", [0, 4, N - 1])
def test_a_forward_that_raises_in_any_batch_leaves_everything_as_it_was(call, failure, n):
    module = borrowed()
    module.fail_at, module.failure = row(n), failure
    before = snapshot(module)
    estimator = make(module)
    with pytest.raises(type(failure)):
        call(estimator)
    assert_left_alone(module, before)


@pytest.mark.parametrize("call", [CALLS["scores"], CALLS["top-k"]])
def test_a_forward_that_raises_for_a_query_leaves_everything_as_it_was(call):
    module = borrowed()
    module.fail_at = lambda x: any(torch.equal(part, QUERIES[0][1]) for part in plain(x))
    module.failure = Failure("in forward")
    before = snapshot(module)
    estimator = make(module)
    with pytest.raises(Failure, match="in forward"):
        call(estimator)
    assert_left_alone(module, before)


@every_call
def test_a_loss_that_raises_leaves_everything_as_it_was(call):
    calls = []

    def loss(predictions, targets):
        calls.append(1)
        if len(calls) > 2:
            raise Failure("in the loss")
        return cross_entropy(predictions, targets)

    module = borrowed()
    before = snapshot(module)
    estimator = make(module, loss_fn=loss)
    with pytest.raises(Failure, match="in the loss"):
        call(estimator)
    assert_left_alone(module, before)


@every_call
@pytest.mark.parametrize("half_way", [True, False])
def test_a_loader_function_that_raises_leaves_everything_as_it_was(call, half_way):
    """At the second checkpoint, with half of its parameters loaded already."""
    loaded = []

    def load(module, checkpoint):
        loaded.append(1)
        if len(loaded) > 1:
            if half_way:
                names = list(checkpoint)[:5]
                module.load_state_dict({n: checkpoint[n] for n in names}, strict=False)
            raise Failure("in the loader function")
        module.load_state_dict(checkpoint)
        return 0.3

    module = borrowed()
    before = snapshot(module)
    estimator = make(module, checkpoints_load_func=load, learning_rates=None)
    with pytest.raises(Failure, match="in the loader function"):
        call(estimator)
    assert_left_alone(module, before)


@every_call
def test_a_data_set_that_raises_leaves_everything_as_it_was(call):
    class Broken(DrawsRandomNumbers):
        def __getitem__(self, n):
            if n == 4:
                raise Failure("in the data set")
            return super().__getitem__(n)

    module = borrowed()
    before = snapshot(module)
    estimator = TracInCP(
        module,
        Broken(*TRAINING),
        states(Borrowed),
        loss_fn=cross_entropy,
        batch_size=3,
        learning_rates=[0.3, 0.07],
    )
    with pytest.raises(Failure, match="in the data set"):
        call(estimator)
    assert_left_alone(module, before)


@every_call
def test_a_gradient_that_is_not_finite_leaves_everything_as_it_was(call):
    x = TRAINING[0].clone()
    x[4] = float("nan")
    module = borrowed()
    before = snapshot(module)
    estimator = make(module, training=(x, TRAINING[1]))
    with pytest.raises(HeadwaterError):
        call(estimator)
    assert_left_alone(module, before)


def test_a_loader_function_that_changes_modes_and_gradients_is_undone():
    def load(module, checkpoint):
        module.load_state_dict(checkpoint)
        module.train()
        module.requires_grad_(True)
        module.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        return 0.3

    module = borrowed()
    before = snapshot(module)
    make(module, checkpoints_load_func=load, learning_rates=None).influence(*QUERIES)
    assert_left_alone(module, before)


def test_a_table_that_renormalises_itself_in_forward_is_given_back():
    """`max_norm` writes to the weight in each forward."""
    module = nn.Sequential(nn.Embedding(6, 4, max_norm=0.5), nn.Flatten(), nn.Linear(8, 3))
    module = module.double()
    ids = torch.arange(14).reshape(N, 2) % 6
    checkpoints = [
        {name: value + 0.1 * seed for name, value in module.state_dict().items()} for seed in (1, 2)
    ]
    kept = [{name: value.clone() for name, value in state.items()} for state in checkpoints]
    before = snapshot(module)
    estimator = TracInCP(
        module,
        TensorDataset(ids, TRAINING[1]),
        checkpoints,
        loss_fn=cross_entropy,
        batch_size=3,
        learning_rates=[0.3, 0.07],
    )
    estimator.influence(ids[:2], labels(2, 0))
    assert_left_alone(module, before)
    for state, copy in zip(checkpoints, kept, strict=True):
        assert all(torch.equal(state[name], copy[name]) for name in copy)


def test_the_checkpoints_and_the_data_are_only_read():
    checkpoints = states(Borrowed)
    kept = [{name: value.clone() for name, value in state.items()} for state in checkpoints]
    x, y = TRAINING[0].clone(), TRAINING[1].clone()
    estimator = TracInCP(
        borrowed(),
        TensorDataset(x, y),
        checkpoints,
        loss_fn=cross_entropy,
        batch_size=3,
        learning_rates=[0.3, 0.07],
    )
    for call in CALLS.values():
        call(estimator)
    for state, copy in zip(checkpoints, kept, strict=True):
        assert state.keys() == copy.keys()
        for name in copy:
            assert torch.equal(state[name], copy[name])
            assert not state[name].requires_grad
    assert torch.equal(x, TRAINING[0])
    assert torch.equal(y, TRAINING[1])


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
def test_training_goes_on_as_if_nothing_had_happened():
    def steps(module, count):
        optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
        for _ in range(count):
            optimizer.zero_grad()
            cross_entropy(module(TRAINING[0]), TRAINING[1]).mean().backward()
            optimizer.step()
        return module.state_dict()

    torch.manual_seed(5)
    undisturbed = steps(borrowed(), 3)
    module = borrowed()
    torch.manual_seed(5)
    make(module).influence(*QUERIES)
    make(module).influence()
    disturbed = steps(module, 3)
    for name, value in undisturbed.items():
        assert torch.equal(value, disturbed[name]), name
