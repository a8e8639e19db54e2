"""A batch that runs out of memory is halved, said once, and comes to the same numbers."""

import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from headwater import (
    GradientStore,
    InfluenceFunction,
    OutOfMemoryError,
    Projected,
    Task,
    TracInCP,
    TrainingLoss,
)
from headwater.tasks import LossTask
from headwater.tasks.out_of_memory import ran_out_of_memory
from tests.estimators.small import (
    QUERIES,
    N,
    Q,
    Small,
    Stream,
    assert_close,
    cross_entropy,
    dataset,
    expected_scores,
    expected_self_influence,
    make,
    model,
    rows,
    states,
)

ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
ERRORS = {
    "GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "CPU": lambda: RuntimeError(ALLOCATOR),
    "Python": lambda: MemoryError(),
    "C++": lambda: RuntimeError("std::bad_alloc"),
}


class Narrow(Small):
    """Has memory for a few examples at a time."""

    most, error, seen = 2, "CPU", 0

    def forward(self, x):
        type(self).seen = max(self.seen, len(x))
        if len(x) > self.most:
            raise ERRORS[self.error]()
        return super().forward(x)


def narrow(most: int, how: str = "CPU") -> nn.Module:
    made = model(kind=type("Narrow", (Narrow,), {"most": most, "error": how}))
    assert type(made).seen == 0
    return made


def warnings_of(caplog) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


@pytest.mark.parametrize("error", ERRORS)
def test_memory_that_ran_out_is_told_from_other_errors(error):
    assert ran_out_of_memory(ERRORS[error]())
    assert not ran_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out_of_memory(OutOfMemoryError("said already"))


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_batches_are_halved_until_they_fit(most, how, caplog):
    small = narrow(most, how)
    estimator = make(model=small, batch_size=N)
    assert_close(estimator.influence(*QUERIES), expected_scores())
    assert_close(estimator.influence(), expected_self_influence())
    # Once a call.
    assert len(warnings_of(caplog)) == 2
    assert "7 training examples at a time ran out of memory" in warnings_of(caplog)[0]
    assert type(small).seen == N


@pytest.mark.parametrize("budget", ["1GB", 2400, 200], ids=["resident", "by checkpoint", "spans"])
def test_every_order_of_the_loops_goes_on_in_halves(budget):
    top = make(model=narrow(2), batch_size=5, memory_budget=budget).influence(*QUERIES, k=3)
    assert_close(top.influence_scores, expected_scores().sort(descending=True).values[:, :3])


@pytest.mark.parametrize(
    "data",
    [lambda: DataLoader(dataset(), batch_size=4), lambda: DataLoader(Stream(), batch_size=6)],
    ids=["loader", "stream"],
)
def test_batches_of_ones_own_loader_are_cut(data):
    estimator = make(model=narrow(2), influence_src_dataset=data())
    assert_close(estimator.influence(*QUERIES), expected_scores())


def test_a_batch_size_is_found_although_the_sample_does_not_fit(caplog):
    estimator = make(model=narrow(1), batch_size="auto")
    assert_close(estimator.influence(*QUERIES), expected_scores())
    assert len(warnings_of(caplog)) == 1


def test_queries_are_halved_too():
    many = rows(9, 77, 5), torch.arange(9) % 3
    whole = make(batch_size=9).influence(*many)
    assert_close(make(model=narrow(4), batch_size=9).influence(*many), whole)


class LateShortage(nn.Module):
    """Runs out of memory for more than two examples once it has seen some batches."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 12 and len(x) > 2:
            raise MemoryError
        return self.inner(x)


def test_a_shortage_half_way_through_does_not_end_the_job(caplog):
    late = LateShortage(model())
    named = [{f"inner.{key}": value for key, value in state.items()} for state in states()]
    estimator = make(model=late, checkpoints=named, batch_size=4)
    assert_close(estimator.influence(*QUERIES), expected_scores())
    assert late.calls > 12
    assert len(warnings_of(caplog)) == 1
    assert "going on with 2 at a time" in warnings_of(caplog)[0]


def test_the_fallback_does_not_take_it_for_a_model_that_cannot_be_batched(caplog):
    class Bare(nn.Module):
        most = 99

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(rows(5, 3, 3))

        def forward(self, x):
            if x.dim() == 2 and len(x) > self.most:
                raise MemoryError
            return x @ self.weight

    bare = Bare()
    options = {"checkpoints": [bare.state_dict()], "learning_rates": [0.3], "batch_size": N}
    whole = make(model=bare, **options).influence(*QUERIES)
    bare.most = 2
    assert_close(make(model=bare, **options).influence(*QUERIES), whole)
    assert not any("torch.func" in said for said in warnings_of(caplog))


def test_a_store_and_factors_are_made_in_halves(tmp_path):
    plain, small = make(batch_size=N), make(model=narrow(4), batch_size=N)
    for number, form in enumerate(("factored", Projected(32, seed=1))):
        whole = GradientStore.build(plain, tmp_path / f"whole-{number}", form=form, dtype="float64")
        halves = GradientStore.build(small, tmp_path / f"half-{number}", form=form, dtype="float64")
        assert_close(halves.scores(*QUERIES), whole.scores(*QUERIES))
    loss = nn.CrossEntropyLoss(reduction="none")
    fits = [
        InfluenceFunction(net, dataset(), loss, batch_size=N).influence(*QUERIES)
        for net in (model(), narrow(4))
    ]
    assert_close(fits[1], fits[0])


def test_baselines_that_only_look_at_losses_go_on_in_halves():
    whole, halves = (
        TrainingLoss(net, dataset(), states(), loss_fn=cross_entropy, batch_size=N).influence()
        for net in (model(), narrow(2))
    )
    assert_close(halves, whole)


def test_one_example_that_does_not_fit_is_an_error_that_says_what_to_do():
    before = {key: value.clone() for key, value in model().state_dict().items()}
    small = narrow(0)
    with pytest.raises(OutOfMemoryError, match=r"training example 0 alone .*allocate .*form="):
        make(model=small).influence(*QUERIES)
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())
    assert all(parameter.requires_grad for parameter in small.parameters())
    with pytest.raises(MemoryError):
        make(model=small).influence()


class Uncut(Task):
    """Batches whose examples lie along the second axis."""

    def losses(self, model, batch):
        inputs, targets = batch
        return cross_entropy(model(inputs.mT), targets)

    def size(self, batch):
        return len(batch[1])


def test_a_batch_that_cannot_be_cut_is_an_error_that_says_what_to_do():
    def sideways(examples):
        inputs, targets = zip(*examples, strict=True)
        return torch.stack(inputs, dim=1), torch.stack(targets)

    loader = DataLoader(dataset(), batch_size=4, collate_fn=sideways)
    estimator = make(
        model=narrow(2), influence_src_dataset=loader, loss_fn=None, task=Uncut(), batch_size="auto"
    )
    with pytest.raises(OutOfMemoryError, match=r"can't be cut .*smaller batches \(batch_size"):
        estimator.influence()


REAL = """
import resource, sys
import torch
from torch import nn
from torch.utils.data import TensorDataset
from headwater import TracInCP
import psutil

torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 60_000), nn.Tanh(), nn.Linear(60_000, 2)).double()
data = TensorDataset(torch.randn(150, 10).double(), torch.randint(2, (150,)))
state = [(model.state_dict(), 0.3)]
loss = nn.CrossEntropyLoss(reduction="none")
estimator = TracInCP(model, data, state, loss_fn=loss, batch_size=int(sys.argv[1]))
if sys.argv[2] == "limited":
    # 0.5 MB per example and activation: 150 at once take 72 MB, several times.
    now = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (now + 120 * 2**20, -1))
scores = estimator.influence(data.tensors[0][:3], data.tensors[1][:3])
torch.save(scores, sys.argv[3])
"""


@pytest.mark.end_to_end
@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
def test_a_real_limit_on_memory_is_met_by_halves(tmp_path):
    def run(batch_size: int, how: str) -> tuple[torch.Tensor, str]:
        path = tmp_path / f"{how}.pt"
        command = [sys.executable, "-c", REAL, str(batch_size), how, str(path)]
        # A second thread may make the C library reserve 64 MB of addresses, half of the limit.
        env = {**os.environ, "MALLOC_ARENA_MAX": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        return torch.load(path), done.stderr

    plain, said = run(10, "free")
    assert not said
    limited, said = run(150, "limited")
    assert said.count("ran out of memory") == 1
    assert_close(limited, plain)


def test_the_model_of_these_tests_is_that_of_the_oracle():
    assert_close(
        TracInCP(
            narrow(N), dataset(), states(), loss_fn=cross_entropy, learning_rates=[0.3, 0.07]
        ).influence(*QUERIES),
        expected_scores(),
    )
    assert expected_scores().shape == (Q, N)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_memory_that_a_loss_alone_runs_out_of_stays_that_error(reduction, error):
    """Or whoever would halve the batch takes it for a loss that is wrong."""

    def loss_fn(predictions, targets):
        if len(targets) == 1:
            raise ERRORS[error]()
        return nn.functional.cross_entropy(predictions, targets, reduction=reduction)

    batch = torch.randn(3, 4), torch.tensor([0, 1, 3])
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        LossTask(loss_fn, reduction=reduction).losses(nn.Linear(4, 4), batch)
    assert ran_out_of_memory(raised.value)
