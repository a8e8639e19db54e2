"""A layer called once for the whole batch has a gradient per example all the same."""

import pytest
import torch
from torch import nn

from headwater import TracInCP
from tests.architectures.zoo import BY_NAME
from tests.capture.test_stand_ins import Wrapped
from tests.estimators.small import RATES, assert_close, rows
from tests.oracles import tracin


def fallback_of(estimator, queries):
    """The names that the fallback has to do for this estimator."""
    from headwater.capture import plan

    seen = set()
    original = plan.Plan.move_to_fallback

    def watched(self, names, reason):
        seen.update(names)
        return original(self, names, reason)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan.Plan, "move_to_fallback", watched)
        scores = estimator.influence(*queries)
    return seen, scores


class Positions(nn.Module):
    """Position embeddings looked up once, in one of the ways that models do it."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.words, self.positions = nn.Embedding(7, 4), nn.Embedding(5, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, ids):
        x, places = self.words(ids), torch.arange(ids.shape[1])
        if self.way == "one row":
            x += self.positions(places[None])
        elif self.way == "no batch axis":
            x = x + self.positions(places)
        else:
            # Goes on with an output that it expects to have two axes.
            x = x + self.positions(places).t().t()[None]
        return self.head(torch.tanh(x).mean(dim=1))


def states(model):
    return [
        {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
        for _ in range(2)
    ]


def squared(outputs, targets):
    return (outputs - targets).square().sum(dim=1)


@pytest.mark.parametrize("length", [3, 4], ids=["as long as the batch", "longer"])
@pytest.mark.parametrize("way", ["one row", "no batch axis", "two axes wanted"])
def test_position_tables(way, length):
    torch.manual_seed(5)
    model = Positions(way).double()
    weights = states(model)
    training = torch.utils.data.TensorDataset(torch.randint(7, (7, length)), rows(7, 1, 3))
    queries = torch.randint(7, (3, length)), rows(3, 2, 3)
    estimator = TracInCP(
        model, training, weights, loss_fn=squared, batch_size=3, learning_rates=RATES
    )
    fallback, scores = fallback_of(estimator, queries)
    assert fallback == ({"positions.weight"} if way == "two axes wanted" else set())
    names = tracin.trainable_names(model)
    pairs = list(zip(weights, RATES, strict=True))

    def loss(module, example):
        return squared(module(example[0][None]), example[1][None])

    single = [list(zip(*part, strict=True)) for part in (training.tensors, queries)]
    assert_close(scores, tracin.influence_scores(model, pairs, loss, *single, names))


@pytest.mark.parametrize(
    "name", ["gpt_with_tied_head", "gpt2_of_hugging_face", "linear_on_an_input_without_batch"]
)
def test_models_with_such_layers_do_without_the_fallback_there(name):
    from tests.estimators.test_tracincp_against_oracle import estimator, queries

    architecture = BY_NAME[name]
    fallback, _ = fallback_of(estimator(architecture), queries(architecture))
    assert not fallback


def test_an_error_of_the_model_comes_through_after_a_try_without(monkeypatch):
    def call(layer, x):
        out = layer(torch.ones(1, 2, dtype=x.dtype)) * x
        if out.shape[0] == 3 and x.sum() > 1e6:
            raise ValueError("too large")
        return out

    model = Wrapped(nn.Linear(2, 2), call).double()
    x = rows(6, 1, 2)
    x[4:] = 1e7
    data = torch.utils.data.TensorDataset(x, rows(6, 2, 2))
    estimator = TracInCP(model, data, states(model), loss_fn=squared, batch_size=3)
    with pytest.warns(match="rate"), pytest.raises(ValueError, match="too large"):
        estimator.influence()
