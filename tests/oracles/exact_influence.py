"""Influence functions with the whole curvature as a matrix, entry by entry. No headwater here."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Example = Any


def influence(
    model: nn.Module,
    names: Sequence[str],
    output: Callable[[nn.Module, Example], Tensor],
    loss: Callable[[Tensor, Example], Tensor],
    *,
    training: Sequence[Example],
    queries: Sequence[Example],
    damping: Callable[[Tensor], Tensor],
    hessian: bool = False,
) -> tuple[Tensor, Tensor]:
    """`[Q, N]` scores and `[N]` self-influence.

    `output` is the model's output of one example, `loss` what is made of it; `damping` gives what
    is added to the curvature's diagonal from the curvature.
    """
    curvature = sum(
        (_hessian if hessian else _gauss_newton)(model, names, output, loss, one)
        for one in training
    ) / len(training)
    inverse = torch.linalg.inv(curvature + damping(curvature) * torch.eye(len(curvature)).double())
    rows = torch.stack([_gradient(model, names, output, loss, one) for one in training])
    asked = torch.stack([_gradient(model, names, output, loss, one) for one in queries])
    return asked @ inverse @ rows.T, torch.einsum("ni,ij,nj->n", rows, inverse, rows)


def _parameters(model: nn.Module, names: Sequence[str]) -> list[Tensor]:
    found = dict(model.named_parameters())
    return [found[name] for name in names]


def _flat(grads: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    pairs = zip(grads, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def _gradient(model: nn.Module, names: Sequence[str], output: Any, loss: Any, one: Any) -> Tensor:
    parameters = _parameters(model, names)
    value = loss(output(model, one), one).sum()
    return _flat(torch.autograd.grad(value, parameters, allow_unused=True), parameters)


def _gauss_newton(
    model: nn.Module, names: Sequence[str], output: Any, loss: Any, one: Any
) -> Tensor:
    parameters = _parameters(model, names)
    found = output(model, one)
    rows = [
        _flat(
            torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True), parameters
        )
        for entry in found.flatten()
    ]
    jacobian = torch.stack(rows)
    shape = found.shape

    def of_output(flat: Tensor) -> Tensor:
        return loss(flat.reshape(shape), one).sum()

    second = torch.autograd.functional.hessian(of_output, found.detach().flatten())
    return jacobian.T @ second @ jacobian


def _hessian(model: nn.Module, names: Sequence[str], output: Any, loss: Any, one: Any) -> Tensor:
    parameters = _parameters(model, names)
    value = loss(output(model, one), one).sum()
    grads = torch.autograd.grad(value, parameters, create_graph=True)
    flat = torch.cat([grad.flatten() for grad in grads])
    rows = [
        _flat(
            torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True), parameters
        )
        for entry in flat
    ]
    return torch.stack(rows)
