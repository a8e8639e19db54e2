"""Cells of recurrences that a model spells out step by step."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import TracInCP

from .test_stand_ins import (
    B,
    E,
    T,
    Wrapped,
    batch_of,
    check,
    expected_gradients,
    gradients_by_stand_in,
    rows,
    total,
)

CELLS = [
    pytest.param(kind, options, id=f"{kind.__name__}-{options}")
    for kind in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
    for options in ({}, {"bias": False})
] + [pytest.param(nn.RNNCell, {"nonlinearity": "relu"}, id="RNNCell of relu")]


def steps(cell, x, state=None):
    """All steps of (B, T, I), and the last state."""
    found = []
    for step in x.unbind(1):
        state = cell(step, state)
        found.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(found, dim=1), state


@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_cells_step_by_step(kind, options, given_state):
    def call(cell, x, h, c):
        state = (h, c) if isinstance(cell, nn.LSTMCell) else h
        out, last = steps(cell, x, state if given_state else None)
        last = torch.cat(last, dim=1) if isinstance(last, tuple) else last
        return torch.cat([out.flatten(1), last], dim=1)

    check(Wrapped(kind(2, E, **options), call), batch_of(rows(B, T, 2), rows(B, E), rows(B, E)))


@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_a_cell_computes_what_torchs_does(kind, options):
    cell = kind(2, E, **options)
    seen = []

    def call(cell, x):
        seen.append(steps(cell, x)[0])
        return seen[-1].flatten(1)

    model, batch = Wrapped(cell, call).double().eval(), batch_of(rows(B, T, 2))
    model(*batch[:-1])
    gradients_by_stand_in(model, batch)
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_that_all_positions_of_an_example_go_through_at_once(kind):
    def call(cell, x):
        state = cell(x.flatten(0, 1))
        return (state[1] if isinstance(state, tuple) else state).view(len(x), -1)

    check(Wrapped(kind(2, E), call), batch_of(rows(B, T, 2)))


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_learned_first_state_for_all_examples(kind):
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(1, E, bias=False)
            self.cell = kind(2, E)

        def forward(self, x):
            h = self.first(x.new_ones(len(x), 1))
            state = (h, h) if kind is nn.LSTMCell else h
            return steps(self.cell, x, state)[0].flatten(1)

    check(Learned(), batch_of(rows(B, T, 2)))


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_weights_that_are_computed_go_through_the_fallback(kind):
    cell = nn.utils.parametrizations.weight_norm(kind(2, E), "weight_hh")
    model = Wrapped(cell, lambda cell, x: steps(cell, x)[0].flatten(1)).double().eval()
    batch, rate = batch_of(rows(B, T, 2)), 0.3
    checkpoints = [(model.state_dict(), rate)]
    estimator = TracInCP(model, TensorDataset(*batch), checkpoints, loss_fn=total, batch_size=2)
    expected = rate * expected_gradients(model, batch).square().sum(dim=1)
    torch.testing.assert_close(estimator.influence(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chosen", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_only_one_of_a_cells_parameters(chosen):
    cell = nn.GRUCell(2, E)
    for name, parameter in cell.named_parameters():
        parameter.requires_grad_(name == chosen)
    model = Wrapped(cell, lambda cell, x: steps(cell, x)[0].flatten(1))
    check(model, batch_of(rows(B, T, 2)))
