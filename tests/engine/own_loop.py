"""Scores by a plain loop over single examples, to hold an estimator's against."""

import torch
from torch.nn.functional import cross_entropy

from headwater import TracInCP

RATES = (0.3, 0.07)


def loss_fn(out, y):
    return cross_entropy(out, y, reduction="none")


def checkpoints(model):
    states = []
    for seed in range(len(RATES)):
        generator = torch.Generator().manual_seed(seed)
        states.append(
            {
                name: tensor
                + 0.3 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                for name, tensor in model.state_dict().items()
            }
        )
    return list(zip(states, RATES, strict=True))


def by_loop(model, states, losses, singles):
    """Scores of all pairs, by a plain loop over examples, each alone."""
    total = 0
    for state, rate in states:
        model.load_state_dict(state)
        rows = []
        for single in singles:
            model.zero_grad()
            losses(single).sum().backward()
            found = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
            rows.append(torch.cat([part.flatten() for part in found]))
        gradients = torch.stack(rows)
        total = total + rate * gradients @ gradients.T
    model.zero_grad()
    return total


def agrees(model, data, collate, batch_size):
    model = model.double()
    states = checkpoints(model)
    expected = by_loop(
        model,
        states,
        lambda batch: loss_fn(model(*batch[:-1]), batch[-1]),
        [collate([example]) for example in data],
    )

    def estimator():
        return TracInCP(
            model, data, states, loss_fn=loss_fn, batch_size=batch_size, collate_fn=collate
        )

    torch.testing.assert_close(estimator().influence(), expected.diagonal(), rtol=1e-9, atol=1e-12)
    *inputs, targets = collate(data[:5])
    asked = estimator()
    torch.testing.assert_close(
        asked.influence(tuple(inputs), targets), expected[:5], rtol=1e-9, atol=1e-12
    )
    # What one question has met of the model, the next ones know.
    torch.testing.assert_close(asked.influence(), expected.diagonal(), rtol=1e-9, atol=1e-12)


def stacked(examples):
    return tuple(torch.stack(parts) for parts in zip(*examples, strict=True))


def rows(count, generator, width=4):
    x = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return list(zip(x, torch.randint(3, (count,), generator=generator), strict=True))
