"""Models and examples to hold an estimator's scores against a plain loop's."""

import torch
from torch.nn.functional import cross_entropy

from headwater import TracInCP
from tests.oracles import tracin

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
    names = tracin.trainable_names(model)
    return tracin.influence_scores(model, states, losses, singles, singles, names)


def agrees(model, data, collate, batch_size):
    model = model.double()
    states = checkpoints(model)
    expected = by_loop(
        model,
        states,
        lambda net, batch: loss_fn(net(*batch[:-1]), batch[-1]),
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
