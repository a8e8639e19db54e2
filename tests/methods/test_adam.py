"""LESS and TracInAdam against Adam by its formulas, in a training loop of its own."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from headwater import (
    LESS,
    CheckpointRecorder,
    CheckpointSeries,
    GradientStore,
    InputError,
    Projected,
    RecordingError,
    TracInAdam,
)
from tests.estimators.small import QUERIES, TRAINING, cross_entropy, loss_of_one, model, singles
from tests.oracles import methods, tracin
from tests.recording.training import batches, recorded_loop

from .common import assert_close, make, matrix_of, names, random_numbers_left_alone, shapes

STEPS, EVERY = 5, 2
BETAS, EPS, DECAY = (0.8, 0.95), 1e-3, 0.1


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=0.02, betas=BETAS, eps=EPS)


def adam_with_decay(net):
    return torch.optim.Adam(net.parameters(), lr=0.02, betas=BETAS, eps=EPS, weight_decay=DECAY)


def adamw(net):
    return torch.optim.AdamW(net.parameters(), lr=0.02, betas=BETAS, eps=EPS, weight_decay=DECAY)


OPTIMIZERS = {"adam": (adam, 0.0), "decay": (adam_with_decay, DECAY), "adamw": (adamw, 0.0)}


@dataclass
class Before:
    """Right before an update: weights, the batch's gradient, and Adam's memory, end to end."""

    state: dict[str, Tensor]
    gradient: Tensor
    memory: methods.Adam


def by_hand(optimizer_of, decay):
    """The same training as `recorded_loop`, with Adam's memory kept apart from PyTorch's."""
    net, history = model().train(), []
    optimizer = optimizer_of(net)
    memory = methods.Adam(0.02, *BETAS, EPS)
    torch.manual_seed(5)
    for step, (inputs, targets) in enumerate(batches(STEPS)):
        optimizer.zero_grad()
        cross_entropy(net(inputs), targets).mean().backward()
        flat = torch.cat([p.grad.flatten() for p in net.parameters()])
        weights = torch.cat([p.detach().flatten() for p in net.parameters()])
        flat = flat + decay * weights
        rate = 0.02 / (1 + 0.1 * step)
        now = methods.Adam(rate, *BETAS, EPS)
        now.t, now.m, now.v = memory.t, memory.m, memory.v
        state = {key: value.clone() for key, value in net.state_dict().items()}
        history.append(Before(state, flat.clone(), now))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        memory.take(flat)
    return history[::EVERY]


def gradients(state):
    module = model()
    module.load_state_dict(state)
    return [
        tracin.per_example_gradients(module, loss_of_one, singles(*part), names())
        for part in (QUERIES, TRAINING)
    ]


@pytest.fixture(params=list(OPTIMIZERS))
def recorded(request, tmp_path):
    optimizer_of, decay = OPTIMIZERS[request.param]
    recorded_loop(tmp_path / "run", STEPS, optimizer_of=optimizer_of, every=EVERY, moments=True)
    return tmp_path / "run", by_hand(optimizer_of, decay)


def test_tracin_takes_the_derivative_of_the_step_that_adam_took(recorded):
    folder, history = recorded
    expected, own = 0, 0
    for before in history:
        queries, training = gradients(before.state)
        weights = before.memory.derivative(before.gradient)
        expected = expected + (queries * weights) @ training.T
        own = own + (training * weights * training).sum(dim=1)
    estimator = make(TracInAdam, checkpoints=folder)
    with random_numbers_left_alone():
        assert_close(estimator.influence(*QUERIES), expected)
        assert_close(estimator.influence(), own)
    top = estimator.influence(*QUERIES, k=3)
    assert torch.equal(top.indices, tracin.top_k(expected, 3)[0])
    assert_close(estimator.attribute(*QUERIES).over_queries().tensor()[0], expected.sum(dim=0))
    small = make(TracInAdam, checkpoints=folder, memory_budget=3000)
    assert_close(small.influence(*QUERIES), expected)


def test_less_compares_queries_with_the_steps_that_adam_would_take(recorded, tmp_path):
    folder, history = recorded
    form = Projected(12, seed=2)
    expected = 0
    for place, before in enumerate(history):
        queries, training = gradients(before.state)
        # Of the moments alone: weight decay is no part of an example's gradient.
        updates = torch.stack([before.memory.direction(row) for row in training])
        matrix = matrix_of(form, place)
        cosines = methods.cosine(queries @ matrix.T, updates @ matrix.T)
        expected = expected + before.memory.rate * cosines
    estimator = make(LESS, checkpoints=folder, dim=12, seed=2)
    with random_numbers_left_alone():
        assert_close(estimator.influence(*QUERIES), expected)
    top = estimator.influence(*QUERIES, k=3)
    assert torch.equal(top.indices, tracin.top_k(expected, 3)[0])
    assert_close(estimator.attribute(*QUERIES).over_queries().tensor()[0], expected.sum(dim=0))
    store = GradientStore.build(estimator, tmp_path / "s", dtype="float64")
    assert_close(store.scores(*QUERIES), expected)
    small = make(LESS, checkpoints=folder, dim=12, seed=2, memory_budget=3000)
    assert_close(small.influence(*QUERIES), expected)


def test_less_takes_rates_of_the_users_own(recorded):
    folder, _ = recorded
    each = [
        make(
            LESS,
            checkpoints=CheckpointSeries.open(folder, rates="recorded")[i : i + 1],
            dim=12,
            learning_rates=[1.0],
        ).influence(*QUERIES)
        for i in range(1)
    ]
    weighed = make(LESS, checkpoints=folder, dim=12, learning_rates=[2.0, 0.0, 0.0])
    assert_close(weighed.influence(*QUERIES), 2 * each[0])


def test_what_the_recording_must_have_is_said(tmp_path):
    recorded_loop(tmp_path / "sgd", 2, moments=True)
    recorded_loop(tmp_path / "bare", 2, optimizer_of=adam)
    amsgrad = lambda net: torch.optim.Adam(net.parameters(), lr=0.02, amsgrad=True)  # noqa: E731
    recorded_loop(tmp_path / "amsgrad", 2, optimizer_of=amsgrad, moments=True)
    for folder, says in (
        ("sgd", "expected Adam or AdamW"),
        ("bare", "without the optimizer's moments"),
        ("amsgrad", "amsgrad=True"),
    ):
        for kind in (LESS, TracInAdam):
            with pytest.raises(RecordingError, match=says):
                make(kind, checkpoints=tmp_path / folder).influence(*QUERIES)
    for kind in (LESS, TracInAdam):
        with pytest.raises(InputError, match="CheckpointRecorder"):
            make(kind)
    with pytest.raises(InputError, match="no self-influence"):
        make(LESS, checkpoints=tmp_path / "bare").influence()


def test_less_refuses_to_choose_among_several_rates(tmp_path):
    def two(net):
        last = list(net.fc.parameters())
        rest = [p for name, p in net.named_parameters() if not name.startswith("fc.")]
        return torch.optim.Adam([{"params": rest}, {"params": last, "lr": 0.3}], lr=0.02)

    recorded_loop(tmp_path / "run", 2, optimizer_of=two, moments=True)
    with pytest.raises(InputError, match="several learning rates"):
        make(LESS, checkpoints=tmp_path / "run")
    make(LESS, checkpoints=tmp_path / "run", layers=["fc"], dim=4).influence(*QUERIES)


def test_coordinates_that_never_had_a_gradient_do_not_count(tmp_path):
    net = torch.nn.Linear(2, 2, bias=False).double()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    inputs = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    targets = torch.tensor([0, 1])
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1, moments=True):
        cross_entropy(net(inputs[:1]), targets[:1]).mean().backward()
        optimizer.step()
    seen = inputs + torch.tensor([0.0, 1.0])
    data = torch.utils.data.TensorDataset(seen, targets)
    found = TracInAdam(net, data, tmp_path / "run", loss_fn=cross_entropy).influence()
    # 1 / eps would make them a million.
    assert float(found.abs().max()) < 10


def test_the_gradient_of_the_update_is_recorded_beside_the_moments(tmp_path):
    recorded_loop(tmp_path / "run", STEPS, optimizer_of=adam, every=EVERY, moments=True)
    series = CheckpointSeries.open(tmp_path / "run", rates="recorded")
    for checkpoint, before in zip(series, by_hand(adam, 0.0), strict=True):
        found = checkpoint.gradient()
        assert_close(torch.cat([found[name].flatten() for name in shapes()]), before.gradient)
        assert "gradient" not in checkpoint.moments()
