"""Attention and recurrence, batch first and sequence first."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import (
    Architecture,
    both,
    cross_entropy,
    floats,
    ids,
    token_cross_entropy,
)


class SelfAttention(nn.Module):
    def __init__(self, batch_first: bool, bias: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.attention = nn.MultiheadAttention(4, 2, bias=bias, batch_first=batch_first)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not self.batch_first:
            x = x.transpose(0, 1)
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.head(torch.tanh(x)).mean(1 if self.batch_first else 0)


class CrossAttention(nn.Module):
    """Keys and values of other widths, a padding mask, added bias, and the weights used."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            4, 2, kdim=3, vdim=2, add_bias_kv=True, batch_first=True
        )

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        padded = torch.zeros(key.shape[:2], dtype=torch.bool)
        padded[:, -1] = key[:, -1, 0] > 0
        out, weights = self.attention(query, key, value, key_padding_mask=padded)
        return torch.cat([out, weights], dim=-1)


class Encoder(nn.Module):
    def __init__(self, batch_first: bool, layers: int = 1, norm_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first
        layer = nn.TransformerEncoderLayer(
            4, 2, dim_feedforward=5, dropout=0.1, batch_first=batch_first, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, layers) if layers > 1 else layer
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.batch_first:
            return self.head(self.encoder(x)[:, 0])
        return self.head(self.encoder(x.transpose(0, 1))[0])


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.TransformerDecoderLayer(4, 2, dim_feedforward=3, batch_first=True)

    def forward(self, target: Tensor, memory: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=target.dtype)
        return self.decoder(target, memory, tgt_mask=mask)


class Recurrent(nn.Module):
    """The last state of a recurrent network is classified."""

    def __init__(self, kind: type[nn.RNNBase], batch_first: bool = True, **options) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.rnn = kind(2, 4, batch_first=batch_first, **options)
        width = options.get("proj_size", 4) * (2 if options.get("bidirectional") else 1)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not self.batch_first:
            x = x.transpose(0, 1)
        out = self.rnn(x)[0]
        return self.head(out[:, -1] if self.batch_first else out[-1])


class SequenceFirstInputs(nn.Module):
    """`(T, B, I)` comes from the loader itself."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(2, 3)
        self.rnn = nn.GRU(3, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(torch.tanh(self.project(x)))[0][-1])


class PackedSequences(nn.Module):
    """`pack_padded_sequence` sorts the batch by length, and the result is sorted back."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 3)
        self.rnn = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(ids), lengths + 1, batch_first=True, enforce_sorted=False
        )
        return self.head(self.rnn(packed)[1][0][-1])


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(2, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0])


class GPT(nn.Module):
    """Two pre-norm blocks; the output head is the word embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.positions = nn.Embedding(6, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(4), nn.LayerNorm(4)
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, 2, 2))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT2OfHuggingFace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=7, n_positions=6, n_embd=4, n_layer=1, n_head=2, n_inner=6, use_cache=False
        )
        config._attn_implementation = "eager"
        self.gpt2 = GPT2LMHeadModel(config)

    def forward(self, ids: Tensor) -> Tensor:
        return self.gpt2(input_ids=ids).logits


T3 = floats(3, 4)  # as many positions as a batch has examples
T5 = floats(5, 4)
SERIES = floats(3, 2)

SEQUENTIAL = [
    Architecture("attention_batch_first", lambda: SelfAttention(True), T5, cross_entropy),
    Architecture("attention_sequence_first", lambda: SelfAttention(False), T3),
    Architecture("attention_without_bias", lambda: SelfAttention(True, bias=False), T3),
    Architecture(
        "cross_attention", CrossAttention, both(floats(2, 4), floats(5, 3), floats(5, 2)), queries=2
    ),
    Architecture("transformer_encoder_layer_batch_first", lambda: Encoder(True), T3),
    Architecture("transformer_encoder_layer_sequence_first", lambda: Encoder(False), T3),
    Architecture(
        "transformer_encoder", lambda: Encoder(True, layers=2), T5, cross_entropy, queries=2
    ),
    Architecture("transformer_encoder_norm_first", lambda: Encoder(True, norm_first=True), T5),
    Architecture("transformer_decoder_layer", EncoderDecoder, both(floats(3, 4), floats(2, 4))),
    Architecture("lstm_batch_first", lambda: Recurrent(nn.LSTM), SERIES, cross_entropy),
    Architecture("lstm_sequence_first", lambda: Recurrent(nn.LSTM, batch_first=False), SERIES),
    Architecture(
        "lstm_bidirectional_of_two_layers",
        lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True),
        SERIES,
        queries=2,
    ),
    Architecture("lstm_with_projection", lambda: Recurrent(nn.LSTM, proj_size=2), SERIES),
    Architecture("gru", lambda: Recurrent(nn.GRU), SERIES, cross_entropy),
    Architecture("elman_rnn", lambda: Recurrent(nn.RNN, batch_first=False), SERIES),
    Architecture("lstm_cells", Cells, SERIES),
    Architecture("packed_sequences", PackedSequences, both(ids(6, 4), ids(4)), cross_entropy),
    Architecture(
        "sequence_first_inputs",
        SequenceFirstInputs,
        lambda g, n: (torch.randn(3, n, 2, generator=g),),
        batch_dim=1,
    ),
    Architecture("gpt_with_tied_head", GPT, ids(7, 5), token_cross_entropy),
    Architecture("gpt2_of_hugging_face", GPT2OfHuggingFace, ids(7, 4), token_cross_entropy),
]
