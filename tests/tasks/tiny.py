"""Tiny models of many architectures with random weights in float64, and batches for them."""

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from headwater import TracInCP
from tests.oracles import tracin

RATES = [0.3, 0.07]
VOCABULARY, LENGTH, PAD = 29, 6, 0


def seeded(seed, build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        for parameter in model.parameters():
            with torch.no_grad():
                parameter.add_(torch.randn(parameter.shape), alpha=0.2)
    return model.double()


def bert_config(**options):
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=LENGTH + 2,
        **options,
    )


def bert(seed, labels=3, **options):
    config = bert_config(num_labels=labels, **options)
    return seeded(seed, lambda: BertForSequenceClassification(config))


def bert_of_tokens(seed, labels=4, **options):
    config = bert_config(num_labels=labels, **options)
    return seeded(seed, lambda: BertForTokenClassification(config))


def gpt2(seed, **options):
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LENGTH + 2,
        n_embd=8,
        n_layer=2,
        n_head=2,
        n_inner=12,
        **options,
    )
    return seeded(seed, lambda: GPT2LMHeadModel(config))


def llama(seed, **options):
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH + 2,
        **options,
    )
    return seeded(seed, lambda: LlamaForCausalLM(config))


def tied_llama(seed):
    return llama(seed, tie_word_embeddings=True)


def t5(seed, **options):
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=8,
        d_kv=3,
        d_ff=12,
        num_layers=1,
        num_heads=2,
        relative_attention_num_buckets=4,
        relative_attention_max_distance=5,
        decoder_start_token_id=PAD,
        **options,
    )
    return seeded(seed, lambda: T5ForConditionalGeneration(config))


def bart(seed, **options):
    config = BartConfig(
        vocab_size=VOCABULARY,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=12,
        decoder_ffn_dim=10,
        max_position_embeddings=LENGTH + 2,
        pad_token_id=PAD,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
        **options,
    )
    return seeded(seed, lambda: BartForConditionalGeneration(config))


def sequences(count, seed):
    """Token ids of unequal lengths, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (count, LENGTH), generator=generator)
    lengths = torch.randint(3, LENGTH + 1, (count,), generator=generator)
    mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def classification(count, seed):
    labels = torch.randint(3, (count,), generator=torch.Generator().manual_seed(seed + 50))
    return {**sequences(count, seed), "labels": labels}


def tagged(count, seed, labels=4):
    """A label for each token, none for the first and for padding."""
    batch = sequences(count, seed)
    generator = torch.Generator().manual_seed(seed + 70)
    tags = torch.randint(labels, (count, LENGTH), generator=generator)
    tags[batch["attention_mask"] == 0] = -100
    tags[:, 0] = -100
    return {**batch, "labels": tags}


def pairs(count, seed):
    """Sources and targets of unequal lengths, the targets shorter and padded with -100."""
    target = sequences(count, seed + 30)
    labels = target["input_ids"].masked_fill(target["attention_mask"] == 0, -100)[:, : LENGTH - 1]
    return {**sequences(count, seed), "labels": labels.contiguous()}


def singles(batch):
    """A batch of one for each example."""
    count = len(next(iter(batch.values())))
    return [{key: column[i : i + 1] for key, column in batch.items()} for i in range(count)]


def items(batch):
    """Each example as a row of a dataset."""
    return [{key: column[0] for key, column in single.items()} for single in singles(batch)]


def estimator(build, task, training, **options):
    """A TracInCP of two checkpoints with unequal rates."""
    states = [dict(build(seed).state_dict()) for seed in (1, 2)]
    arguments = {"checkpoints": states, "learning_rates": RATES, "task": task, "batch_size": 3}
    return TracInCP(build(0), training, **{**arguments, **options})


def oracle(build, loss, training, query, names=None):
    """Scores and self-influence by plain loops; training and query as lists of batches of one."""
    model = build(0)
    checkpoints = [
        (dict(build(seed).state_dict()), rate) for seed, rate in zip((1, 2), RATES, strict=True)
    ]
    names = names or tracin.trainable_names(model)
    scores = tracin.influence_scores(model, checkpoints, loss, training, query, names)
    return scores, tracin.self_influence(model, checkpoints, loss, training, names)


def check(build, task, loss, training, query, batch_size=3):
    """All answers of TracInCP against the oracle's."""
    made = estimator(build, task, items(training), batch_size=batch_size)
    expected, own = oracle(build, loss, singles(training), singles(query))
    scale = float(expected.abs().max())
    for unpack in (True, False):
        scores = made.influence(query, unpack_inputs=unpack)
        torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-10 * scale)
    torch.testing.assert_close(made.influence(), own, rtol=1e-9, atol=0)
    top = made.influence(query, k=2)
    assert torch.equal(top.indices, tracin.top_k(expected, 2)[0])
