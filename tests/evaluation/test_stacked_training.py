"""Models that are trained in a stack are those that are trained one by one, by a plain loop."""

import copy
import logging

import pytest
import torch
from torch import nn

from headwater import InputError, LossError
from headwater.evaluation import Recipe, RecipeRetraining, Run

from .digits import CROSS_ENTROPY, digits, mlp

SGD = Recipe(2, 8, 0.3)
RECIPES = {
    "plain SGD": SGD,
    "momentum and weight decay": Recipe(
        2, 8, 0.1, settings={"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
    ),
    "AdamW, cosine, warmup, clipped": Recipe(
        2,
        8,
        0.02,
        "adamw",
        {"weight_decay": 0.1, "betas": (0.8, 0.95)},
        schedule="cosine",
        warmup=3,
        clip_norm=0.5,
    ),
    "Adam, linear": Recipe(2, 8, 0.02, "adam", schedule="linear"),
}


def plain_loop(build, data, recipe, members, seed, removed=()):
    """Knows nothing of headwater but the recipe's numbers."""
    torch.manual_seed(seed)
    model = build()
    inputs, targets = data
    classes = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = classes[recipe.optimizer](
        model.parameters(), lr=recipe.learning_rate, **recipe.settings
    )
    generator = torch.Generator().manual_seed(seed)
    steps = recipe.epochs * -(-len(members) // recipe.batch_size)
    step = 0
    for _ in range(recipe.epochs):
        order = torch.randperm(len(members), generator=generator).tolist()
        for start in range(0, len(order), recipe.batch_size):
            batch = [members[place] for place in order[start : start + recipe.batch_size]]
            optimizer.zero_grad()
            total = sum(
                CROSS_ENTROPY(model(inputs[n : n + 1]), targets[n : n + 1]).sum()
                for n in batch
                if n not in removed
            )
            if isinstance(total, torch.Tensor):
                (total / len(batch)).backward()
            if recipe.clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            rate = recipe.learning_rate
            if recipe.schedule == "cosine":
                rate *= (1 + torch.cos(torch.tensor(torch.pi * step / steps, dtype=float))) / 2
            if recipe.schedule == "linear":
                rate *= 1 - step / steps
            rate *= min(1, (step + 1) / (recipe.warmup + 1))
            optimizer.param_groups[0]["lr"] = float(rate)
            optimizer.step()
            step += 1
    return model.state_dict()


@pytest.mark.parametrize("at_once", [1, 3], ids=["one by one", "in a stack"])
@pytest.mark.parametrize("name", RECIPES)
def test_training_is_that_of_a_plain_loop(name, at_once):
    data = digits(0, 60)
    retraining = RecipeRetraining(mlp, data, RECIPES[name], loss_fn=CROSS_ENTROPY, at_once=at_once)
    assert retraining.at_once == at_once
    members = torch.arange(0, 57, 3)
    removed = torch.tensor([3, 12, 54])
    # 19 members: a last batch of 3. Another number of members is another stack.
    runs = [
        Run(members, 5),
        Run(members + 1, 6),
        Run(torch.arange(11), 7),
        Run(members, 5, removed),
        Run(members + 2, 8),
    ]
    states = retraining.states(runs)
    for number, run in enumerate(runs):
        expected = plain_loop(
            mlp, data, RECIPES[name], run.members.tolist(), run.seed, run.removed.tolist()
        )
        assert list(states) == list(expected)
        for key in expected:
            torch.testing.assert_close(states[key][number], expected[key], rtol=1e-9, atol=1e-11)


class Tied(nn.Module):
    """A weight with two uses, a frozen one, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64, bias=False)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(64, 10)
        self.frozen.weight.requires_grad_(False)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x):
        return self.frozen(self.second(self.first(x).relu()) * self.scale)


class Convolutional(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 3, 3),
            nn.GroupNorm(1, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(108, 10),
        )


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 10)

    def forward(self, x):
        rows = x.unflatten(1, (8, 8))
        return self.out(self.attention(rows, rows, rows, need_weights=False)[0].mean(dim=1))


@pytest.mark.parametrize("kind", [Tied, Convolutional, Attending])
def test_other_architectures_are_trained_alike_in_a_stack(kind):
    def build():
        return kind().double()

    data = digits(0, 30)
    by_size = [
        RecipeRetraining(build, data, SGD, loss_fn=CROSS_ENTROPY, at_once=at_once)
        for at_once in (1, 3)
    ]
    assert by_size[1].at_once == 3
    runs = [Run(torch.arange(30), seed) for seed in (1, 2, 3)]
    alone, together = (retraining.states(runs) for retraining in by_size)
    assert list(alone) == list(together) == list(build().state_dict())
    for name in alone:
        torch.testing.assert_close(alone[name], together[name], rtol=1e-8, atol=1e-10)
    for retraining, states in zip(by_size, (alone, together), strict=True):
        assert len(list(retraining.trained(states))) == 3


class Dropping(nn.Module):
    """Dropout that no layer shows."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10).double()

    def forward(self, x):
        return nn.functional.dropout(self.fc(x), 0.5, self.training)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: nn.Sequential(mlp(), nn.Dropout(0.2)), "draws random numbers"),
        (lambda: nn.Sequential(nn.BatchNorm1d(64).double(), mlp()), "statistics of batches"),
        (Dropping, "vmap can't take them"),
    ],
    ids=["dropout", "batch normalisation", "dropout inside"],
)
def test_what_cannot_be_in_a_stack_is_trained_alone_and_said_once(build, why, caplog):
    with caplog.at_level(logging.WARNING, logger="headwater"):
        retraining = RecipeRetraining(build, digits(0, 30), SGD, loss_fn=CROSS_ENTROPY, at_once=4)
        runs = [Run(torch.arange(30), seed) for seed in (1, 2)]
        first, again = retraining.states(runs), retraining.states(runs)
    assert retraining.at_once == 1
    (record,) = caplog.records
    assert "one by one" in record.getMessage()
    assert why in record.getMessage()
    for name in first:
        assert torch.equal(first[name], again[name])


def test_dropout_of_no_effect_is_no_obstacle():
    def build():
        return nn.Sequential(mlp(), nn.Dropout(0.0))

    retraining = RecipeRetraining(build, digits(0, 9), SGD, loss_fn=CROSS_ENTROPY, at_once=2)
    assert retraining.at_once == 2


def test_a_loss_that_averages_is_taken_by_example():
    data = digits(0, 30)
    runs = [Run(torch.arange(20), 1), Run(torch.arange(10, 30), 2)]
    expected = RecipeRetraining(mlp, data, SGD, loss_fn=CROSS_ENTROPY, at_once=2).states(runs)
    found = RecipeRetraining(mlp, data, SGD, loss_fn=nn.CrossEntropyLoss(), at_once=2).states(runs)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_model_that_is_given_lends_its_weights_to_every_run_and_keeps_its_own():
    model = mlp()
    before = copy.deepcopy(model.state_dict())
    retraining = RecipeRetraining(model, digits(0, 30), SGD, loss_fn=CROSS_ENTROPY, at_once=2)
    retraining.states([Run(torch.arange(30), seed) for seed in (1, 2)])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(retraining.initial(3)[0].weight, model[0].weight)


def test_the_generator_of_the_caller_is_not_touched():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    RecipeRetraining(mlp, digits(0, 30), SGD, loss_fn=CROSS_ENTROPY).states(
        [Run(torch.arange(9), 4)]
    )
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"optimizer": "lion"}, "train\\(dataset, seed\\)"),
        ({"settings": {"momentun": 0.9}}, "doesn't take the settings"),
        ({"schedule": "step"}, "schedule is 'step'"),
        ({"clip_norm": 0.0}, "clip_norm"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(changes, says):
    known = {"epochs": 1, "batch_size": 4, "learning_rate": 0.1}
    with pytest.raises(InputError, match=says):
        Recipe(**{**known, **changes})


def test_a_loss_of_another_shape_is_refused():
    with pytest.raises(LossError, match="one number per example"):
        RecipeRetraining(mlp, digits(0, 9), SGD, loss_fn=lambda p, t: CROSS_ENTROPY(p, t).sum())
    with pytest.raises(InputError, match="names training example 9"):
        Run(torch.tensor([3, 9]), 0).present(9)
