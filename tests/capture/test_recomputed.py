"""Activation checkpointing, as PyTorch and transformers apply it, is exact."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

from benchmarks.models import Block, Decoder
from headwater import TracInCP
from headwater.tasks import CausalLanguageModelling
from tests.tasks.tiny import RATES, gpt2, llama

N, Q, LENGTH = 7, 2, 5


def ids(count, seed, vocabulary=29):
    return torch.randint(
        1, vocabulary, (count, LENGTH), generator=torch.Generator().manual_seed(seed)
    )


def token_losses(logits, targets):
    losses = nn.functional.cross_entropy(logits[:, :-1].mT, targets[:, 1:], reduction="none")
    return losses.sum(dim=1)


token_losses.reduction = "none"


def states(build):
    found = []
    for seed in range(len(RATES)):
        torch.manual_seed(seed)
        found.append(build().state_dict())
    return list(zip(found, RATES, strict=True))


def by_example(model, states, losses, train, queries):
    """The scores by one backward pass per example, without checkpointing."""
    total = 0.0
    for state, rate in states:
        model.load_state_dict(state)
        rows = []
        for examples in (queries, train):
            flat = []
            for one in examples:
                model.zero_grad()
                losses(model, one[None]).sum().backward()
                grads = [p.grad for p in model.parameters() if p.grad is not None]
                flat.append(torch.cat([grad.flatten() for grad in grads]))
            rows.append(torch.stack(flat))
        total = total + rate * rows[0] @ rows[1].mT
    return total


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_decoder_whose_blocks_are_wrapped_by_pytorch(reentrant):
    def build():
        return Decoder(width=8, layers=2, heads=2, vocabulary=29, positions=LENGTH).double()

    plain, wrapped = build().eval(), build()
    kept = states(build)
    train, queries = ids(N, 1), ids(Q, 2)
    expected = by_example(
        plain, kept, lambda model, one: token_losses(model(one), one), train, queries
    )
    kind = CheckpointImpl.REENTRANT if reentrant else CheckpointImpl.NO_REENTRANT
    apply_activation_checkpointing(
        wrapped,
        checkpoint_wrapper_fn=lambda module: checkpoint_wrapper(module, checkpoint_impl=kind),
        check_fn=lambda module: isinstance(module, Block),
    )
    tracin = TracInCP(
        wrapped, TensorDataset(train, train), kept, loss_fn=token_losses, batch_size=3
    )
    torch.testing.assert_close(tracin.influence(queries, queries), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("build", [gpt2, llama])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable.*:FutureWarning")
def test_a_model_of_transformers_with_gradient_checkpointing_enabled(build, reentrant):
    plain, model = build(0).eval(), build(0)
    kept = list(zip((build(seed).state_dict() for seed in (1, 2)), RATES, strict=True))
    train, queries = ids(N, 1), ids(Q, 2)

    def losses(model, one):
        return token_losses(model(input_ids=one).logits, one)

    expected = by_example(plain, kept, losses, train, queries)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    model.train()
    rows = [{"input_ids": one, "labels": one} for one in train]
    tracin = TracInCP(model, rows, kept, task=CausalLanguageModelling(), batch_size=3)
    asked = {"input_ids": queries, "labels": queries}
    torch.testing.assert_close(tracin.influence(asked), expected, rtol=1e-10, atol=1e-10)
    assert model.training
    assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules())


class Behind(nn.Module):
    """Layers that are recomputed reentrantly, behind one and in front of another."""

    def __init__(self, asks: bool) -> None:
        super().__init__()
        self.first = nn.Linear(5, 7)
        self.blocks = nn.ModuleList([nn.Linear(7, 7), nn.Linear(7, 7)])
        self.last = nn.Linear(7, 3)
        self.asks = asks

    def forward(self, x):
        x = torch.tanh(self.first(x))
        if self.asks and not x.requires_grad:
            x.requires_grad_()
        for block in self.blocks:
            x = torch.tanh(checkpoint(block, x, use_reentrant=True))
        return self.last(x)


@pytest.mark.parametrize(
    ("layers", "frozen"),
    [
        (None, False),
        (["blocks"], False),
        (["blocks", "last"], False),
        (["last"], False),
        (None, True),
    ],
    ids=["all", "recomputed ones", "recomputed ones and the last", "the last", "first one frozen"],
)
def test_reentrantly_recomputed_layers_count_though_nothing_before_them_does(layers, frozen):
    """Autograd says that nothing depends on them, unless asked for something in front of them."""

    def build():
        net = Behind(asks=frozen).double()
        net.first.requires_grad_(not frozen)
        return net

    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(N, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (N,), generator=generator)
    checkpoints = states(build)
    net = build()
    estimator = TracInCP(
        net,
        TensorDataset(inputs, targets),
        checkpoints,
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        layers=layers,
        batch_size=3,
    )
    expected = torch.zeros(N, dtype=torch.float64)
    plain = build()
    names = [
        name
        for name, parameter in plain.named_parameters()
        if parameter.requires_grad and (layers is None or name.split(".")[0] in layers)
    ]
    for state, rate in checkpoints:
        plain.load_state_dict(state)
        for place in range(N):
            plain.zero_grad()
            nn.functional.cross_entropy(plain(inputs[place, None]), targets[place, None]).backward()
            own = dict(plain.named_parameters())
            expected[place] += rate * sum(own[name].grad.square().sum() for name in names)
    torch.testing.assert_close(estimator.influence(), expected, rtol=1e-9, atol=1e-12)
    assert all(parameter.grad is None for parameter in net.parameters())
