"""A transformer as it is trained: AdamW, dropout, clipping, tied embeddings, padded texts."""

import pytest
import torch
from torch import nn

from headwater import ExactUnrolling, TrainingRun
from headwater.tasks import CausalLanguageModelling

transformers = pytest.importorskip("transformers")

TEXTS = [
    {"input_ids": torch.randint(1, 20, (5 + n % 3,), generator=torch.Generator().manual_seed(n))}
    for n in range(6)
]


def pad(texts):
    ids = [text["input_ids"] for text in texts]
    return {
        key: nn.utils.rnn.pad_sequence(parts, batch_first=True)
        for key, parts in {
            "input_ids": ids,
            "attention_mask": [torch.ones_like(part) for part in ids],
        }.items()
    }


def test_scores_of_a_language_models_run_are_its_derivative():
    config = transformers.GPT2Config(
        vocab_size=20,
        n_positions=8,
        n_embd=8,
        n_layer=1,
        n_head=2,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gpt = transformers.GPT2LMHeadModel(config).double().train()
        optimizer = torch.optim.AdamW(gpt.parameters(), lr=0.005, eps=1e-4)
        run = TrainingRun.train(
            gpt,
            TEXTS,
            optimizer,
            [[0, 1, 2], [3, 4], [5, 0, 3]],
            task=CausalLanguageModelling(),
            collate_fn=pad,
            max_grad_norm=1.0,
        )
    assert run.verify() == 0
    scores = ExactUnrolling(run, check=False).influence(TEXTS[:2])
    step = torch.zeros(6, dtype=torch.float64)
    step[3] = 1e-4
    more, less = (run.losses(TEXTS[:2], example_weights=1 + s) for s in (step, -step))
    torch.testing.assert_close(scores[:, 3], (less - more) / 2e-4, rtol=1e-5, atol=1e-8)
