"""Stand-ins compute what their layers compute, and none of what they cover goes to the fallback."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import TracInCP
from headwater.capture import Capture, borrowed
from headwater.tasks import LossTask
from tests.architectures.zoo import BY_NAME
from tests.oracles import tracin

B, T, S, E = 3, 4, 5, 6

RECURRENT = [
    pytest.param(kind, options, id=f"{kind.__name__}-{options}")
    for kind in (nn.LSTM, nn.GRU, nn.RNN)
    for options in (
        {},
        {"bias": False},
        {"batch_first": True, "num_layers": 2},
        {"bidirectional": True, "num_layers": 2, "dropout": 0.5},
    )
] + [pytest.param(nn.RNN, {"nonlinearity": "relu"}, id="RNN of relu")]


class Wrapped(nn.Module):
    """A layer, called as a test says; its outputs flattened per example."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, *inputs):
        return self.call(self.layer, *inputs)


def total(outputs, targets):
    return (outputs.square() * targets[:, None]).sum(dim=1)


def batch_of(*inputs):
    return (*inputs, torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64))


def gradients_by_stand_in(model, batch):
    """Per-example gradients, and the names of what the fallback had to do."""
    names = tuple(tracin.trainable_names(model))
    task = LossTask(total, reduction="none")
    capture = Capture(model, names)
    with borrowed(model), capture.attached():
        found = capture.gradients(task, batch)
        capture.check(found, task, batch, first=0, kind="training example")
        rows = {}
        shapes = {name: p.shape for name, p in model.named_parameters()}
        for block, form in found.forms.items():
            parts = form.split([shapes[name].numel() for name in block])
            rows.update(zip(block, [part.materialise() for part in parts], strict=True))
        fallback = set(capture._plan.fallback)
    return torch.cat([rows[name] for name in names], dim=1), fallback


def expected_gradients(model, batch):
    names = tracin.trainable_names(model)
    size = len(batch[-1])
    rows = []
    for index in range(size):
        loss = total(model(*batch[:-1]), batch[-1])[index]
        grads = torch.autograd.grad(loss, [dict(model.named_parameters())[n] for n in names])
        rows.append(torch.cat([grad.flatten() for grad in grads]))
    return torch.stack(rows)


def check(model, batch):
    model = model.double().eval()
    found, fallback = gradients_by_stand_in(model, batch)
    assert not fallback
    torch.testing.assert_close(found, expected_gradients(model, batch), rtol=1e-10, atol=1e-12)


def rows(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize(("kind", "options"), RECURRENT)
def test_recurrent_layers(kind, options, given_state):
    layer = kind(2, E, **options)
    first = bool(options.get("batch_first"))
    states = layer.num_layers * (2 if layer.bidirectional else 1)

    def call(layer, x, h, c):
        state = (h, c) if isinstance(layer, nn.LSTM) else h
        out, final = layer(x, state) if given_state else layer(x)
        final = final if isinstance(final, tuple) else (final,)
        parts = [out if first else out.transpose(0, 1), *(s.transpose(0, 1) for s in final)]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    x = rows(B, T, 2) if first else rows(T, B, 2)
    check(Wrapped(layer, call), batch_of(x, rows(states, B, E), rows(states, B, E)))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_lay_their_outputs_out_as_torch_does(kind, batch_first, bidirectional):
    def call(layer, inputs):
        inputs = inputs if batch_first else inputs.transpose(0, 1)
        out, _ = layer(inputs)
        steps_first = out.transpose(0, 1) if batch_first else out
        # Raises where the memory is in another order.
        return steps_first.view(T * B, -1).view(T, B, -1).transpose(0, 1).flatten(1)

    layer = kind(S, E, num_layers=2, batch_first=batch_first, bidirectional=bidirectional)
    check(Wrapped(layer, call), batch_of(rows(B, T, S)))


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_lays_its_output_out_as_torch_does(batch_first):
    def call(layer, x):
        x = x if batch_first else x.transpose(0, 1)
        out, _ = layer(x, x, x)
        steps_first = out.transpose(0, 1) if batch_first else out
        return steps_first.view(T * B, -1).view(T, B, -1).transpose(0, 1).flatten(1)

    layer = nn.MultiheadAttention(E, 2, batch_first=batch_first)
    check(Wrapped(layer, call), batch_of(rows(B, T, E)))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_whose_output_is_written_to_is_right_in_batches_of_any_size(batch_first, heads):
    def call(layer, x):
        x = x if batch_first else x.transpose(0, 1)
        out, _ = layer(x, x, x)
        out.add_(0.5)
        return (out if batch_first else out.transpose(0, 1)).flatten(1)

    model = Wrapped(nn.MultiheadAttention(E, heads, batch_first=batch_first), call).double().eval()
    data = rows(2 * B + 1, T, E), torch.rand(2 * B + 1, dtype=torch.float64)
    expected = expected_gradients(model, data).square().sum(dim=1) * 0.3
    # The last batch is of one: what is a view there need not be one in the batches before.
    found = TracInCP(
        model, TensorDataset(*data), [(model.state_dict(), 0.3)], loss_fn=total, batch_size=B
    ).influence()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_attention_over_several_sequences_of_an_example():
    def call(layer, x):
        folded = x.flatten(0, 1)
        out, _ = layer(folded, folded, folded)
        return out.unflatten(0, (B, -1)).flatten(1)

    layer = nn.MultiheadAttention(E, 2, batch_first=True)
    check(Wrapped(layer, call), batch_of(rows(B, 2, T, E)))


def attention_call(mask=None, padding=None, cross=False, **options):
    def call(layer, query, key):
        arguments = (query, key, key) if cross else (query, query, query)
        if not layer.batch_first:
            arguments = tuple(a.transpose(0, 1) for a in arguments)
        out, weights = layer(*arguments, attn_mask=mask, key_padding_mask=padding, **options)
        out = out if layer.batch_first else out.transpose(0, 1)
        return torch.cat([out.flatten(1), *([] if weights is None else [weights.flatten(1)])], 1)

    return call


CAUSAL = torch.ones(T, T).triu(1).bool()
PADDING = torch.tensor([[False] * T, [False] * (T - 1) + [True], [False, False, True, True]])


@pytest.mark.parametrize("layer_options", [{}, {"batch_first": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(attention_call(), id="plain"),
        pytest.param(attention_call(average_attn_weights=False), id="weights per head"),
        pytest.param(attention_call(need_weights=False), id="without weights"),
        pytest.param(attention_call(CAUSAL), id="mask"),
        pytest.param(attention_call(CAUSAL, need_weights=False, is_causal=True), id="causal"),
        pytest.param(attention_call(padding=PADDING), id="padding"),
        pytest.param(attention_call(CAUSAL, PADDING, need_weights=False), id="mask and padding"),
        pytest.param(attention_call(rows(T, T), PADDING.double() * -3), id="numbers as masks"),
        pytest.param(attention_call(rows(B * 2, T, T)), id="a mask per head"),
        pytest.param(attention_call(cross=True), id="other keys"),
    ],
)
def test_attention(layer_options, call):
    layer = nn.MultiheadAttention(E, 2, **layer_options)
    nn.init.normal_(layer.out_proj.weight)
    for name, parameter in layer.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)
    check(Wrapped(layer, call), batch_of(rows(B, T, E), rows(B, S, E)))


def test_attention_with_widths_of_their_own():
    layer = nn.MultiheadAttention(E, 3, kdim=2, vdim=4, batch_first=True)
    nn.init.normal_(layer.in_proj_bias)
    model = Wrapped(layer, lambda layer, q, k, v: layer(q, k, v)[0].flatten(1))
    check(model, batch_of(rows(B, T, E), rows(B, S, 2), rows(B, S, 4)))


@pytest.mark.parametrize("name", ["lstm_with_projection", "cross_attention"])
def test_what_a_stand_in_does_not_cover_goes_through_the_fallback(name):
    # That the numbers are right is seen in tests/estimators; here, that nothing is left behind.
    model = BY_NAME[name].model()
    capture = Capture(model, tuple(tracin.trainable_names(model)))
    with borrowed(model), capture.attached():
        pass
    assert all("forward" not in vars(module) for module in model.modules())


def test_a_forward_of_ones_own_is_not_stood_in_for():
    class Halved(nn.LSTM):
        def forward(self, x):
            return super().forward(x / 2)

    layer = Halved(2, E, batch_first=True)
    model = Wrapped(layer, lambda layer, x: layer(x)[0].flatten(1)).double().eval()
    batch = batch_of(rows(B, T, 2))
    found, fallback = gradients_by_stand_in(model, batch)
    assert len(fallback) == 4
    torch.testing.assert_close(found, expected_gradients(model, batch), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["lstm_batch_first", "gru", "transformer_encoder"])
def test_only_some_of_a_layers_parameters(name):
    architecture = BY_NAME[name]
    model = architecture.model().eval()
    inputs, targets = architecture.training()
    task = LossTask(architecture.loss, reduction="none")
    everything = tracin.trainable_names(model)
    for chosen in everything:
        capture = Capture(model, (chosen,))
        with borrowed(model), capture.attached():
            found = capture.gradients(task, (*inputs, targets))
            assert not capture._plan.fallback
            (form,) = found.forms.values()
            rows = form.materialise()
        examples = architecture.examples(inputs, targets)
        expected = tracin.per_example_gradients(model, architecture.loss_of_one, examples, [chosen])
        torch.testing.assert_close(rows, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["lstm", "attention"])
def test_parametrized_weights_are_right_through_the_fallback(kind):
    if kind == "lstm":
        layer, name = nn.LSTM(2, E, batch_first=True), "weight_hh_l0"
        model = Wrapped(layer, lambda layer, x: layer(x)[0].flatten(1))
        x = rows(B, T, 2)
    else:
        layer, name = nn.MultiheadAttention(E, 2, batch_first=True), "in_proj_weight"
        model = Wrapped(layer, lambda layer, x: layer(x, x, x)[0].flatten(1))
        x = rows(B, T, E)
    nn.utils.parametrizations.weight_norm(layer, name)
    model, batch = model.double().eval(), batch_of(x)
    data = torch.utils.data.TensorDataset(*batch)
    states = [{n: torch.randn_like(t) for n, t in model.state_dict().items()} for _ in range(2)]
    rates = [0.3, 0.07]
    estimator = TracInCP(model, data, states, loss_fn=total, learning_rates=rates, batch_size=3)
    found = estimator.influence()
    expected = torch.zeros(B, dtype=torch.float64)
    for state, rate in zip(states, rates, strict=True):
        model.load_state_dict(state)
        expected += rate * expected_gradients(model, batch).square().sum(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


class Used(nn.Module):
    """A recurrent layer whose model goes on in a way that its stand-in isn't made for."""

    def __init__(self, kind, how):
        super().__init__()
        self.before, self.how = nn.Linear(4, 4), how
        self.layer = kind(4, 4, num_layers=2, batch_first=True)
        if how == "tied":
            self.layer.weight_hh_l1 = self.layer.weight_hh_l0

    def forward(self, x):
        x = self.before(x)
        out, _ = self.layer(x)
        if self.how == "output written to":
            out.add_(1.0)
        if self.how == "gone back through":
            (slope,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
            out = out * (1 + slope.square().sum(dim=(1, 2)))[:, None, None]
        return out.flatten(1)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("how", ["tied", "output written to", "gone back through"])
def test_a_layer_that_is_used_in_another_way_is_right_all_the_same(kind, how):
    model, batch = Used(kind, how).double().eval(), batch_of(rows(B, T, 4))
    state = {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    if how == "tied":
        state["layer.weight_hh_l1"] = state["layer.weight_hh_l0"]
    data = torch.utils.data.TensorDataset(*batch)
    estimator = TracInCP(model, data, [state], loss_fn=total, learning_rates=[0.3], batch_size=3)
    found = estimator.influence()
    model.load_state_dict(state)
    expected = torch.stack(
        [
            sum(
                grad.square().sum()
                for grad in torch.autograd.grad(
                    total(model(x[None]), y[None]).sum(), list(model.parameters())
                )
            )
            for x, y in data
        ]
    )
    torch.testing.assert_close(found, 0.3 * expected, rtol=1e-10, atol=0)
