"""A bank being built in a process that can be killed; imports no more than it needs."""

import torch

# What an optimizer imports at its first step, seconds that every process would take again.
import torch._dynamo
from torch import nn

from headwater.evaluation import Recipe, RecipeRetraining, RetrainedBank, Subsets

COUNT, RUNS = 10, 2


def examples(start, stop):
    generator = torch.Generator().manual_seed(9)
    inputs = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    targets = (inputs.sum(dim=1) > 0).long()
    return inputs[start:stop], targets[start:stop]


def build(say, folder):
    """Says something when each model is trained."""
    retraining = RecipeRetraining(
        lambda: nn.Linear(5, 2).double(),
        examples(0, 50),
        Recipe(1, 16, 0.3),
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        at_once=1,
    )
    plain = retraining.states

    def states(runs):
        say()
        return plain(runs)

    retraining.states = states
    return RetrainedBank.build(folder, retraining, Subsets(COUNT, runs=RUNS), examples(50, 60))
