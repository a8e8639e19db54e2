"""Recurrent layers of packed sequences compute what torch's do, and keep their rule."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .test_stand_ins import (
    RECURRENT,
    B,
    E,
    T,
    Wrapped,
    batch_of,
    check,
    gradients_by_stand_in,
    rows,
)

# Neither sorted nor of three lengths; the last has every step.
LENGTHS = torch.tensor([2, 1, 4])


def flattened(packed, final):
    out, _ = pad_packed_sequence(packed, batch_first=True, total_length=T)
    final = final if isinstance(final, tuple) else (final,)
    return torch.cat([out.flatten(1), *(s.transpose(0, 1).flatten(1) for s in final)], dim=1)


@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize(("kind", "options"), RECURRENT)
def test_sequences_of_several_lengths(kind, options, given_state):
    layer = kind(2, E, **options)
    states = layer.num_layers * (2 if layer.bidirectional else 1)

    def call(layer, x, lengths, h, c):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        state = (h, c) if isinstance(layer, nn.LSTM) else h
        return flattened(*(layer(packed, state) if given_state else layer(packed)))

    batch = batch_of(rows(B, T, 2), LENGTHS, rows(states, B, E), rows(states, B, E))
    check(Wrapped(layer, call), batch)


@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("lengths", [[4, 4, 4], [4, 2, 2], [1, 1, 1]])
def test_sequences_that_are_sorted_already(kind, lengths, enforce_sorted):
    def call(layer, x):
        packed = pack_padded_sequence(
            x, torch.tensor(lengths), batch_first=True, enforce_sorted=enforce_sorted
        )
        return flattened(*layer(packed))

    layer = kind(2, E, bidirectional=True)
    check(Wrapped(layer, call), batch_of(rows(B, T, 2)))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_what_comes_out_is_packed_as_torch_packs_it(kind):
    layer = kind(2, E, num_layers=2, bidirectional=True)
    seen = []

    def call(layer, x):
        packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
        seen.append(layer(packed))
        return flattened(*seen[-1])

    model, batch = Wrapped(layer, call).double().eval(), batch_of(rows(B, T, 2))
    model(*batch[:-1])
    gradients_by_stand_in(model, batch)
    (expected, _), (found, _) = seen[:2]
    assert isinstance(found, PackedSequence)
    for own, wanted in zip(found[1:], expected[1:], strict=True):
        assert torch.equal(own, wanted)
    torch.testing.assert_close(found.data, expected.data, rtol=1e-12, atol=1e-14)
    assert found.data.stride() == expected.data.stride()


def test_several_sequences_of_an_example():
    def call(layer, x):
        # Four sentences of a text, of which each is B texts by turns.
        lengths = torch.arange(4 * B) % T + 1
        packed = pack_padded_sequence(
            x.flatten(0, 1), lengths, batch_first=True, enforce_sorted=False
        )
        return layer(packed)[1].view(len(x), -1)

    check(Wrapped(nn.GRU(2, E), call), batch_of(rows(B, 4, T, 2)))
