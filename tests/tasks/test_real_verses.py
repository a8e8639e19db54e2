"""A tiny GPT-2 that learned real verses, asked token by token what made it predict others."""

import copy

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import GPT2Config, GPT2LMHeadModel

from headwater import TracInCP
from headwater.tasks import CausalLanguageModelling
from tests.tasks.real_data import verses

tokenizers = pytest.importorskip("tokenizers")

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

RATE, LENGTH = 0.3, 40


def tokenizer_of(texts):
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=600, special_tokens=["[PAD]"])
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    made.decoder = tokenizers.decoders.ByteLevel()
    made.train_from_iterator(texts, trainer)
    return made


def padded(rows):
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    mask = [torch.ones_like(row) for row in ids]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence(mask, batch_first=True),
    }


def trained(model, rows):
    """Two epochs of SGD on the mean over tokens, and the states after each."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    states = []
    for _ in range(2):
        for start in range(0, len(rows), 8):
            batch = padded(rows[start : start + 8])
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            optimizer.zero_grad()
            model(**batch, labels=labels).loss.backward()
            optimizer.step()
        states.append(copy.deepcopy(model.state_dict()))
    return states


def test_tokens_that_a_verse_shares_with_the_query_are_those_that_push_it():
    texts = verses(book=1, chapters=6)
    tokenizer = tokenizer_of(texts)
    rows = [{"input_ids": tokenizer.encode(text).ids[:LENGTH]} for text in texts]
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=LENGTH,
        n_embd=48,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    assert model.lm_head.weight is model.transformer.wte.weight
    states = trained(model, rows)
    tracin = TracInCP(
        model,
        rows,
        states,
        learning_rates=[RATE, RATE],
        task=CausalLanguageModelling(),
        collate_fn=padded,
    )
    # "And the evening and the morning were the second day", of which others tell the other days.
    places = [n for n, text in enumerate(texts) if "evening and the morning" in text]
    assert len(places) == 6
    query = [rows[places[1]]]
    scores = tracin.influence(query)
    assert int(scores[0].argmax()) == places[1]
    # By token, since long verses have more of them.
    each = scores[0] / torch.tensor([len(row["input_ids"]) - 1 for row in rows])
    assert set(each.topk(5).indices.tolist()) < set(places)
    found = tracin.token_influence(query, places)
    torch.testing.assert_close(found.scores.sum(-1), scores[:, places], rtol=1e-4, atol=1e-3)
    asked = set(query[0]["input_ids"])
    has_loss = found.tokens[0] >= 0
    shared = torch.tensor([[int(token) in asked for token in row] for row in found.tokens[0]])
    # Every word that a verse shares with the query pushes it more than any that it doesn't.
    assert found.scores[0][shared & has_loss].min() > found.scores[0][~shared & has_loss].max()
