"""The oracle itself, against closed forms and finite differences."""

import torch
from torch import nn

from tests.oracles import tracin


def squared_error(model, example):
    x, y = example
    return 0.5 * (model(x) - y).square().sum()


def linear_regression():
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(4, 3).double()
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    states = [
        {
            "weight": torch.randn(3, 4, generator=generator, dtype=torch.float64),
            "bias": torch.randn(3, generator=generator, dtype=torch.float64),
        }
        for _ in range(2)
    ]
    return model, x, y, list(zip(states, [0.3, 0.07], strict=True))


def rows(x, y):
    return [(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]


def test_scores_of_linear_regression_equal_their_closed_form():
    model, x, y, checkpoints = linear_regression()
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for state, rate in checkpoints:
        residual = x @ state["weight"].T + state["bias"] - y
        # The gradient is residual (x, 1)^T: the product of two is a product of two products.
        expected += rate * (x[:2] @ x[2:].T + 1) * (residual[:2] @ residual[2:].T)
    names = ["weight", "bias"]
    scores = tracin.influence_scores(
        model, checkpoints, squared_error, rows(x[2:], y[2:]), rows(x[:2], y[:2]), names
    )
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)


def test_self_influence_is_the_diagonal_of_the_scores():
    model, x, y, checkpoints = linear_regression()
    args = (model, checkpoints, squared_error, rows(x, y))
    names = ["weight", "bias"]
    scores = tracin.influence_scores(*args, rows(x, y), names)
    torch.testing.assert_close(tracin.self_influence(*args, names), scores.diagonal())


def test_only_the_named_parameters_count():
    model, x, y, checkpoints = linear_regression()
    state, rate = checkpoints[0]
    residual = x @ state["weight"].T + state["bias"] - y
    scores = tracin.self_influence(model, [(state, rate)], squared_error, rows(x, y), ["bias"])
    torch.testing.assert_close(scores, rate * residual.square().sum(1))


def test_gradients_equal_finite_differences():
    model, x, y, _checkpoints = linear_regression()
    model = nn.Sequential(model, nn.Tanh(), nn.Linear(3, 3)).double()
    names = tracin.trainable_names(model)
    gradients = tracin.per_example_gradients(model, squared_error, rows(x, y), names)
    step, column = 1e-6, 0
    with torch.no_grad():
        for p in model.parameters():
            for j in range(p.numel()):
                entry = p.view(-1)[j]
                entry += step
                up = torch.stack([squared_error(model, e) for e in rows(x, y)])
                entry -= 2 * step
                down = torch.stack([squared_error(model, e) for e in rows(x, y)])
                entry += step
                slope = (up - down) / (2 * step)
                torch.testing.assert_close(gradients[:, column], slope, rtol=1e-6, atol=1e-7)
                column += 1
    assert column == gradients.shape[1]


def test_tied_and_unused_parameters_each_count_once():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight
            self.unused = nn.Linear(2, 2)

        def forward(self, ids):
            return self.head(self.embed(ids))

    model = Odd().double()
    names = tracin.trainable_names(model)
    assert names == ["embed.weight", "unused.weight", "unused.bias"]
    examples = [(torch.tensor([i]), torch.ones(1, 5, dtype=torch.float64)) for i in (2, 4)]
    gradients = tracin.per_example_gradients(model, squared_error, examples, names)
    weight = model.embed.weight.detach()
    for (ids, y), gradient in zip(examples, gradients, strict=True):
        h = weight[ids[0]]
        residual = weight @ h - y[0]
        expected = torch.outer(residual, h)
        expected[ids[0]] += weight.T @ residual
        torch.testing.assert_close(gradient[:15].view(5, 3), expected)
        assert gradient[15:].eq(0).all()


def test_sparse_gradients_are_made_dense():
    model = nn.Embedding(5, 3, sparse=True).double()
    examples = [(torch.tensor([[1, 1, 4]]), torch.zeros(1, 3, 3, dtype=torch.float64))]
    gradient = tracin.per_example_gradients(model, squared_error, examples, ["weight"])[0]
    weight = model.weight.detach()
    expected = torch.zeros(5, 3, dtype=torch.float64)
    expected[1], expected[4] = 2 * weight[1], weight[4]
    torch.testing.assert_close(gradient.view(5, 3), expected)


def test_ties_go_to_the_lower_index_on_both_sides():
    scores = torch.tensor([[1.0, 3.0, 3.0, -2.0, -2.0]])
    indices, values = tracin.top_k(scores, 3)
    assert indices.tolist() == [[1, 2, 0]]
    assert values.tolist() == [[3.0, 3.0, 1.0]]
    indices, values = tracin.top_k(scores, 9, proponents=False)
    assert indices.tolist() == [[3, 4, 0, 1, 2]]
    assert values.tolist() == [[-2.0, -2.0, 1.0, 3.0, 3.0]]
    assert tracin.top_k(scores, 0)[0].shape == (1, 0)
