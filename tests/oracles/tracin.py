"""TracIn as plain autograd loops: one example, one backward pass, nothing shared, nothing clever.

It imports nothing from headwater. The caller gives a model of its own (a copy) in float64, which
is overwritten, and cuts batches into batches of one, so the position of the batch dimension is
the caller's business.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Example = Any
Loss = Callable[[nn.Module, Example], Tensor]
Checkpoint = tuple[dict[str, Tensor], float]


def trainable_names(model: nn.Module) -> list[str]:
    """Each parameter with `requires_grad` once, by the first of its names where it is shared."""
    return [name for name, p in model.named_parameters() if p.requires_grad]


def per_example_gradients(
    model: nn.Module, loss: Loss, examples: Sequence[Example], names: Sequence[str]
) -> Tensor:
    """`[B, P]`: row i is the gradient of example i's own loss, the parameters end to end.

    Through `.backward()` and not `torch.autograd.grad`, since activation checkpointing with
    `use_reentrant=True` knows only the former.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    selected = [parameters[name] for name in names]
    model.eval()
    for p in selected:
        p.requires_grad_(True)
    rows = []
    for example in examples:
        model.zero_grad(set_to_none=True)
        with torch.enable_grad():
            value = loss(model, example)
            assert value.numel() == 1, "the oracle's loss is one number for one example"
            if value.requires_grad:
                value.sum().backward()
        rows.append(torch.cat([_flat_gradient(p) for p in selected]))
    model.zero_grad(set_to_none=True)
    return torch.stack(rows)


def _flat_gradient(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    if gradient is None:
        return torch.zeros(parameter.numel(), dtype=parameter.dtype)
    return gradient.detach().to_dense().clone().reshape(-1)


def influence_scores(
    model: nn.Module,
    checkpoints: Iterable[Checkpoint],
    loss: Loss,
    training: Sequence[Example],
    queries: Sequence[Example],
    names: Sequence[str],
    query_loss: Loss | None = None,
) -> Tensor:
    """`[Q, N]`: the sum over checkpoints of rate * <query's gradient, training gradient>.

    `query_loss` is what is differentiated for queries, where that isn't `loss`.
    """
    scores = torch.zeros(len(queries), len(training), dtype=torch.float64)
    for state, rate in checkpoints:
        model.load_state_dict(state)
        training_rows = per_example_gradients(model, loss, training, names)
        query_rows = per_example_gradients(model, query_loss or loss, queries, names)
        for q in range(len(queries)):
            for n in range(len(training)):
                scores[q, n] += rate * (query_rows[q] * training_rows[n]).sum()
    return scores


def self_influence(
    model: nn.Module,
    checkpoints: Iterable[Checkpoint],
    loss: Loss,
    training: Sequence[Example],
    names: Sequence[str],
) -> Tensor:
    """`[N]`: the sum over checkpoints of rate * the squared length of the gradient."""
    scores = torch.zeros(len(training), dtype=torch.float64)
    for state, rate in checkpoints:
        model.load_state_dict(state)
        for n, row in enumerate(per_example_gradients(model, loss, training, names)):
            scores[n] += rate * (row * row).sum()
    return scores


def top_k(scores: Tensor, k: int, proponents: bool = True) -> tuple[Tensor, Tensor]:
    """`[Q, min(k, N)]` indices and scores, best first; a tie goes to the lower index."""
    indices = []
    for row in scores.tolist():
        sign = -1.0 if proponents else 1.0
        order = sorted(range(len(row)), key=lambda n, row=row: (sign * row[n], n))
        indices.append(order[: min(k, len(row))])
    width = min(k, scores.shape[1])
    chosen = torch.tensor(indices, dtype=torch.int64).reshape(len(indices), width)
    return chosen, scores.gather(1, chosen)
