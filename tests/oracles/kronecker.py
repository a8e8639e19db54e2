"""Kronecker-factored curvature with dense matrices: one example at a time, inverses by `inv`.

It imports nothing from headwater. Factors are made from whatever losses it is given, such as those
of labels that were drawn from the model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

Example = Any
Loss = Callable[[nn.Module, Example], Tensor]


@dataclass
class Linear:
    """A block of a weight, and a bias, that some modules use as a linear map."""

    weight: str
    bias: str | None
    modules: list[str]
    groups: int = 1
    transposed: bool = False


@dataclass
class Diagonal:
    """A parameter whose own curvature alone is known."""

    name: str


Block = Linear | Diagonal


def influence(
    model: nn.Module,
    blocks: Sequence[Block],
    *,
    drawn: Sequence[tuple[Loss, Example]],
    training: Sequence[tuple[Loss, Example]],
    queries: Sequence[tuple[Loss, Example]],
    factor: float = 0.1,
    damping: float | None = None,
    corrected: bool = True,
) -> tuple[Tensor, Tensor]:
    """`[Q, N]` scores and `[N]` self-influence.

    `factor` is the damping as a share of a block's mean eigenvalue, unless `damping` is given.
    """
    scores = torch.zeros(len(queries), len(training)).double()
    own = torch.zeros(len(training)).double()
    for block in blocks:
        matrix, mean = _curvature(block, [(model, *one) for one in drawn], corrected)
        added = factor * mean if damping is None else damping
        inverse = torch.linalg.inv(matrix + added * torch.eye(len(matrix)).double())
        by_query = torch.stack([_gradient(model, block, *one) for one in queries])
        by_example = torch.stack([_gradient(model, block, *one) for one in training])
        scores += by_query @ inverse @ by_example.T
        own += torch.einsum("ni,ij,nj->n", by_example, inverse, by_example)
    return scores, own


def _gradient(model: nn.Module, block: Block, loss: Loss, example: Example) -> Tensor:
    parameters = dict(model.named_parameters())
    if isinstance(block, Diagonal):
        (found,) = torch.autograd.grad(loss(model, example).sum(), [parameters[block.name]])
        return found.flatten()
    names = [block.weight] + ([block.bias] if block.bias else [])
    found = torch.autograd.grad(loss(model, example).sum(), [parameters[name] for name in names])
    weight = found[0].T if block.transposed else found[0]
    matrix = weight.reshape(len(weight), -1)
    if block.bias:
        matrix = torch.cat([matrix, found[1][:, None]], dim=1)
    return matrix.flatten()


def unrolled(
    checkpoints: Sequence[Sequence[nn.Module]],
    blocks: Sequence[Block],
    times: Sequence[float],
    *,
    drawn: Callable[[nn.Module], Sequence[tuple[Loss, Example]]],
    training: Sequence[tuple[Loss, Example]],
    queries: Sequence[tuple[Loss, Example]],
) -> Tensor:
    """`[Q, N]` scores of training in segments, by matrix exponentials.

    `checkpoints` are each segment's models, `times` each segment's rate times updates.
    """
    scores = torch.zeros(len(queries), len(training)).double()
    for block in blocks:
        curvatures = [
            _curvature(block, [(m, *one) for m in models for one in drawn(m)], True)[0]
            for models in checkpoints
        ]
        last = checkpoints[-1][-1]
        left = torch.stack([_gradient(last, block, *one) for one in queries])
        for models, matrix, time in reversed(
            list(zip(checkpoints, curvatures, times, strict=True))
        ):
            size = len(matrix)
            # [exp(-tH), integral of exp(-sH) from 0 to t] by the exponential of one larger matrix.
            joint = torch.zeros(2 * size, 2 * size).double()
            joint[:size, :size], joint[:size, size:] = (
                -time * matrix,
                time * torch.eye(size).double(),
            )
            both = torch.linalg.matrix_exp(joint)
            decay, gathered = both[:size, :size], both[:size, size:]
            for model in models:
                rows = torch.stack([_gradient(model, block, *one) for one in training])
                scores += left @ gathered @ rows.T / len(models)
            left = left @ decay
    return scores


def _curvature(
    block: Block, drawn: Sequence[tuple[nn.Module, Loss, Example]], corrected: bool
) -> tuple[Tensor, float]:
    if isinstance(block, Diagonal):
        rows = torch.stack([_gradient(model, block, *one) for model, *one in drawn])
        diagonal = rows.square().mean(dim=0)
        return torch.diag(diagonal), float(diagonal.mean())
    records = [_positions(model, block, *one) for model, *one in drawn]
    parts, means = [], []
    for group in range(block.groups):
        per_example = [(inputs[group], grads[group]) for inputs, grads in records]
        second = sum(a.T @ a for a, _ in per_example) / len(per_example)
        count = sum(len(d) for _, d in per_example)
        outer = sum(d.T @ d for _, d in per_example) / count
        by_a, q_a = torch.linalg.eigh(second)
        by_s, q_s = torch.linalg.eigh(outer)
        if corrected:
            rotated = [(q_s.T @ d.T @ a @ q_a).square() for a, d in per_example]
            eigenvalues = sum(rotated) / len(rotated)
        else:
            eigenvalues = torch.outer(by_s.clamp(min=0), by_a.clamp(min=0))
        basis = torch.kron(q_s, q_a)
        parts.append(basis @ torch.diag(eigenvalues.flatten()) @ basis.T)
        means.append(float(eigenvalues.mean()))
    return torch.block_diag(*parts), sum(means) / len(means)


def _positions(
    model: nn.Module, block: Linear, loss: Loss, example: Example
) -> tuple[Tensor, Tensor]:
    """Inputs `[G, S, J]` and output gradients `[G, S, O]` at every position that counts."""
    modules = dict(model.named_modules(remove_duplicate=False))
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(module: nn.Module, args: Any, output: Tensor) -> None:
        seen.append((module, args[0], output))

    handles = [m.register_forward_hook(note) for m in {modules[name] for name in block.modules}]
    value = loss(model, example).sum()
    for handle in handles:
        handle.remove()
    grads = torch.autograd.grad(value, [output for _, _, output in seen])
    inputs, outputs = [], []
    for (module, came, _), grad in zip(seen, grads, strict=True):
        if isinstance(module, nn.Conv2d):
            a, d = _convolved(module, came.detach(), grad)
        else:
            a = came.detach().reshape(1, -1, came.shape[-1])
            d = grad.reshape(1, -1, grad.shape[-1])
        inputs.append(a)
        outputs.append(d)
    a, d = torch.cat(inputs, dim=1), torch.cat(outputs, dim=1)
    counted = d.ne(0).any(dim=2).any(dim=0)
    if a.shape[1] > 1:
        a, d = a[:, counted], d[:, counted]
    if block.bias:
        a = torch.cat([a, torch.ones(*a.shape[:2], 1).double()], dim=2)
    return a, d


def _convolved(module: nn.Conv2d, inputs: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    padding = module._reversed_padding_repeated_twice
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    windows = unfold(
        pad(inputs, padding, mode=mode),
        module.kernel_size,
        dilation=module.dilation,
        stride=module.stride,
    )
    groups = module.groups
    a = windows[0].reshape(groups, -1, windows.shape[2]).transpose(1, 2)
    d = grad[0].reshape(groups, -1, windows.shape[2]).transpose(1, 2)
    return a, d
