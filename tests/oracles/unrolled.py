"""Whole training runs as one graph, with a weight on every example's loss as a leaf.

Plain PyTorch in float64; slow, and obviously right. Nothing here may import headwater.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Losses = Callable[[Tensor, Tensor], Tensor]
Update = Callable[[int, str, Tensor, Tensor, dict[str, Tensor]], Tensor]
"""From the number of updates before, a parameter's name, weight, gradient and the optimizer's own
numbers (which it changes) to the weight after."""


def end_of_run(
    module: nn.Module,
    data: tuple[Tensor, Tensor],
    batches: Sequence[Sequence[int]],
    losses: Losses,
    update: Update,
    example_weights: Tensor,
    *,
    mean: bool = True,
    max_norm: float | None = None,
) -> dict[str, Tensor]:
    """The weights after the run, differentiable by `example_weights`."""
    weights = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    kept: dict[str, dict[str, Tensor]] = {name: {} for name in weights}
    for step, places in enumerate(batches):
        inputs, targets = (column[list(places)] for column in data)
        each = losses(functional_call(module, weights, (inputs,)), targets)
        total = (each * example_weights[list(places)]).sum()
        loss = total / len(places) if mean else total
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        if max_norm is not None:
            norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
            factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
            gradients = [gradient * factor for gradient in gradients]
        weights = {
            name: update(step, name, weights[name], gradient, kept[name])
            for name, gradient in zip(weights, gradients, strict=True)
        }
    return weights


def effects(
    module: nn.Module,
    data: tuple[Tensor, Tensor],
    batches: Sequence[Sequence[int]],
    losses: Losses,
    update: Update,
    queries: tuple[Tensor, Tensor],
    *,
    mean: bool = True,
    max_norm: float | None = None,
) -> Tensor:
    """Minus the derivative of each query's loss at the end by the weight of each example."""
    ones = torch.ones(len(data[0]), dtype=torch.float64, requires_grad=True)
    module.train()
    weights = end_of_run(module, data, batches, losses, update, ones, mean=mean, max_norm=max_norm)
    module.eval()
    at_the_end = losses(functional_call(module, weights, (queries[0],)), queries[1])
    rows = [torch.autograd.grad(loss, ones, retain_graph=True)[0] for loss in at_the_end]
    return -torch.stack(rows)


def sgd(
    rates: dict[str, float],
    *,
    momentum: float = 0.0,
    decay: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    schedule: Callable[[int], float] = lambda step: 1.0,
) -> Update:
    """SGD, with a rate by parameter."""

    def update(step: int, name: str, w: Tensor, g: Tensor, kept: dict[str, Tensor]) -> Tensor:
        g = g + decay * w
        if "v" in kept:
            kept["v"] = momentum * kept["v"] + (1 - dampening) * g
        else:
            kept["v"] = g
        direction = g + momentum * kept["v"] if nesterov else kept["v"]
        return w - rates[name] * schedule(step) * (direction if momentum else g)

    return update


def adam(
    rates: dict[str, float],
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay: float = 0.0,
    decoupled: bool = True,
    amsgrad: bool = False,
) -> Update:
    """Adam, or AdamW where the decay is decoupled, with a rate by parameter."""

    def update(step: int, name: str, w: Tensor, g: Tensor, kept: dict[str, Tensor]) -> Tensor:
        b1, b2 = betas
        rate = rates[name]
        if decoupled:
            w = w - rate * decay * w
        else:
            g = g + decay * w
        kept["m"] = b1 * kept.get("m", torch.zeros_like(w)) + (1 - b1) * g
        kept["v"] = b2 * kept.get("v", torch.zeros_like(w)) + (1 - b2) * g**2
        v = kept["v"]
        if amsgrad:
            v = kept["largest"] = torch.maximum(kept.get("largest", torch.zeros_like(v)), v)
        mhat, vhat = kept["m"] / (1 - b1 ** (step + 1)), v / (1 - b2 ** (step + 1))
        return w - rate * mhat / (vhat.sqrt() + eps)

    return update


def first_order(
    module: nn.Module,
    data: tuple[Tensor, Tensor],
    batches: Sequence[Sequence[int]],
    losses: Losses,
    optimizer: torch.optim.Optimizer,
    queries: tuple[Tensor, Tensor],
    share: Callable[[int, int, str], Any],
    max_norm: float = float("inf"),
) -> Tensor:
    """TracIn over every update: each example's share in each displacement, times the queries.

    Args:
        share: from the numbers s and t of two updates and a parameter's name to what the
            displacement of update s changes by per change of the gradient of update t.
        max_norm: what a batch's gradient is clipped to, by a factor that counts as given.
    """
    named = dict(module.named_parameters())
    scores = torch.zeros(len(queries[0]), len(data[0]), dtype=torch.float64)
    own: list[list[tuple[int, dict[str, Tensor]]]] = []
    of_queries: list[list[dict[str, Tensor]]] = []

    def gradient(loss: Tensor) -> dict[str, Tensor]:
        found = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
        return dict(zip(named, found, strict=True))

    for places in batches:
        inputs, targets = (column[list(places)] for column in data)
        each = losses(module(inputs), targets)
        norm = torch.stack([g.square().sum() for g in gradient(each.mean()).values()]).sum().sqrt()
        factor = min(1.0, max_norm / (float(norm) + 1e-6))
        own.append([(n, gradient(factor * one)) for n, one in zip(places, each, strict=True)])
        of_queries.append([gradient(loss) for loss in losses(module(queries[0]), queries[1])])
        optimizer.zero_grad()
        (factor * each.mean()).backward()
        optimizer.step()
    for t, examples in enumerate(own):
        for s in range(t, len(batches)):
            for n, g in examples:
                for q, of_query in enumerate(of_queries[s]):
                    scores[q, n] -= sum(
                        (of_query[name] * share(s, t, name) * g[name]).sum() / len(examples)
                        for name in named
                    )
    return scores
