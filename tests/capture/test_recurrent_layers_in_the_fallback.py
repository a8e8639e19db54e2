"""Models of recurrent layers whose gradients have no rule: batched all the same, and as torch's."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import TracInCP
from headwater.capture.stand_ins.plain_recurrence import computed_plainly, recurrent_layers

from .test_stand_ins import (
    RECURRENT,
    B,
    E,
    T,
    batch_of,
    expected_gradients,
    rows,
    total,
)


@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [*RECURRENT, pytest.param(nn.LSTM, {"proj_size": 2, "bidirectional": True}, id="projected")],
)
def test_a_layer_computes_what_torchs_does(kind, options, given_state):
    layer = kind(2, E, **options).double().eval()
    states = layer.num_layers * (2 if layer.bidirectional else 1)
    hx = rows(states, B, options.get("proj_size", E)), rows(states, B, E)
    state = (hx if kind is nn.LSTM else hx[0]) if given_state else None
    x = rows(B, T, 2) if options.get("batch_first") else rows(T, B, 2)
    expected = layer(x, state)
    with computed_plainly(recurrent_layers(layer)):
        found = layer(x, state)
    assert "forward" not in vars(layer)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


class Attending(nn.Module):
    """A learned first state, and a vector that says how much every step counts."""

    def __init__(self, kind, **options):
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 1, options.get("proj_size", E)))
        self.rnn = kind(2, E, batch_first=True, **options)
        self.counts = nn.Parameter(torch.randn(self.first.shape[-1]))

    def forward(self, x):
        h = self.first.expand(1, len(x), -1).contiguous()
        c = h.new_zeros(1, len(x), E)
        out, _ = self.rnn(x, (h, c) if isinstance(self.rnn, nn.LSTM) else h)
        return ((out @ self.counts).softmax(dim=1)[..., None] * out).sum(dim=1)


@pytest.mark.parametrize("parametrized", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [(nn.LSTM, {}), (nn.LSTM, {"proj_size": 3}), (nn.GRU, {}), (nn.RNN, {"nonlinearity": "relu"})],
)
def test_parameters_beside_a_layer_and_a_layers_without_a_rule(kind, options, parametrized, caplog):
    model = Attending(kind, **options).double().eval()
    if parametrized:
        nn.utils.parametrizations.weight_norm(model.rnn, "weight_hh_l0")
    batch = batch_of(rows(B, T, 2))
    state = model.state_dict()
    estimator = TracInCP(model, TensorDataset(*batch), [(state, 0.3)], loss_fn=total, batch_size=3)
    expected = 0.3 * expected_gradients(model, batch).square().sum(dim=1)
    torch.testing.assert_close(estimator.influence(), expected, rtol=1e-10, atol=1e-12)
    assert "one pass per example" not in caplog.text
    assert "forward" not in vars(model.rnn)


class Decoding(nn.Module):
    """Cells, and a vector by which states count."""

    def __init__(self, kind):
        super().__init__()
        self.cell = kind(2, E)
        self.counts = nn.Parameter(torch.randn(E))

    def forward(self, x):
        state, found = None, []
        for step in x.unbind(1):
            state = self.cell(step, state)
            found.append((state[0] if isinstance(state, tuple) else state) @ self.counts)
        return torch.stack(found, dim=1)


@pytest.mark.parametrize("parametrized", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_parameters_beside_a_cell_and_a_cells_without_a_rule(kind, parametrized, caplog):
    model = Decoding(kind).double().eval()
    if parametrized:
        nn.utils.parametrizations.weight_norm(model.cell, "weight_hh")
    batch = batch_of(rows(B, T, 2))
    checkpoints = [(model.state_dict(), 0.3)]
    estimator = TracInCP(model, TensorDataset(*batch), checkpoints, loss_fn=total, batch_size=3)
    expected = 0.3 * expected_gradients(model, batch).square().sum(dim=1)
    torch.testing.assert_close(estimator.influence(), expected, rtol=1e-10, atol=1e-12)
    assert "one pass per example" not in caplog.text
    assert "forward" not in vars(model.cell)


def test_a_forward_that_somebody_put_there_stays():
    layer = nn.GRU(2, E)
    layer.forward = lambda x: (x, None)
    assert recurrent_layers(layer) == []
