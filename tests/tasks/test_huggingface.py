"""Models in the style of Hugging Face, with dict batches, against plain autograd loops."""

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from headwater import BatchError, LossError, TracInCP
from headwater.tasks import CausalLanguageModelling, SequenceClassification
from tests.oracles import tracin

RATES = [0.3, 0.07]
VOCABULARY, LENGTH, PAD = 29, 6, 0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def bert(seed, labels=3, **options):
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=LENGTH + 2,
        num_labels=labels,
        **options,
    )
    return seeded(seed, lambda: BertForSequenceClassification(config))


def gpt2(seed):
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH + 2, n_embd=8, n_layer=2, n_head=2, n_inner=12
    )
    return seeded(seed, lambda: GPT2LMHeadModel(config))


def llama(seed):
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH + 2,
    )
    return seeded(seed, lambda: LlamaForCausalLM(config))


def seeded(seed, build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        for parameter in model.parameters():
            with torch.no_grad():
                parameter.add_(torch.randn(parameter.shape), alpha=0.2)
    return model.double()


def sequences(count, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (count, LENGTH), generator=generator)
    lengths = torch.randint(3, LENGTH + 1, (count,), generator=generator)
    mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def classification(count, seed):
    labels = torch.randint(3, (count,), generator=torch.Generator().manual_seed(seed + 50))
    return {**sequences(count, seed), "labels": labels}


def singles(batch):
    return [
        {key: column[i : i + 1] for key, column in batch.items()}
        for i in range(len(batch["input_ids"]))
    ]


def items(batch):
    return [{key: column[0] for key, column in single.items()} for single in singles(batch)]


def unpadded_sum(model, example):
    """The tokens that exist, cut out, and their losses added up."""
    length = int(example["attention_mask"].sum())
    ids = example["input_ids"][:, :length]
    labels = example.get("labels", example["input_ids"])[0, 1:length]
    logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
    return sum(
        (F.cross_entropy(logits[t], labels[t]) for t in range(length - 1) if labels[t] != -100),
        start=logits.sum() * 0,
    )


def cross_entropy(model, example):
    inputs = {key: column for key, column in example.items() if key != "labels"}
    return F.cross_entropy(model(**inputs).logits, example["labels"])


def check(build, task, loss, training, query, batch_size=3):
    states = [dict(build(seed).state_dict()) for seed in (1, 2)]
    estimator = TracInCP(
        build(0),
        items(training),
        checkpoints=states,
        learning_rates=RATES,
        task=task,
        batch_size=batch_size,
    )
    model = build(0)
    names = tracin.trainable_names(model)
    checkpoints = list(zip(states, RATES, strict=True))
    expected = tracin.influence_scores(
        model, checkpoints, loss, singles(training), singles(query), names
    )
    own = tracin.self_influence(model, checkpoints, loss, singles(training), names)
    scale = float(expected.abs().max())
    for unpack in (True, False):
        scores = estimator.influence(query, unpack_inputs=unpack)
        torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-10 * scale)
    torch.testing.assert_close(estimator.influence(), own, rtol=1e-9, atol=0)
    top = estimator.influence(query, k=2)
    assert torch.equal(top.indices, tracin.top_k(expected, 2)[0])


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_sequence_classification_equals_the_oracle(batch_size):
    training, query = classification(5, 1), classification(2, 2)
    check(bert, SequenceClassification(), cross_entropy, training, query, batch_size)


@pytest.mark.parametrize("build", [gpt2, llama])
def test_language_models_equal_the_oracle_with_padding_cut_out(build):
    training, query = sequences(5, 3), sequences(2, 4)
    check(build, CausalLanguageModelling(), unpadded_sum, training, query)


def test_labels_of_a_language_model_may_leave_out_a_prompt():
    training, query = sequences(5, 5), sequences(2, 6)
    for batch in (training, query):
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        labels[:, :2] = -100
        batch["labels"] = labels
    check(gpt2, CausalLanguageModelling(), unpadded_sum, training, query)


def test_real_labels_are_regression_or_one_yes_or_no_per_label():
    def squared(model, example):
        inputs = {key: column for key, column in example.items() if key != "labels"}
        return (model(**inputs).logits[0, 0] - example["labels"][0]) ** 2

    def yes_or_no(model, example):
        inputs = {key: column for key, column in example.items() if key != "labels"}
        p = torch.sigmoid(model(**inputs).logits[0])
        y = example["labels"][0]
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    def labelled(count, seed, *shape):
        generator = torch.Generator().manual_seed(seed)
        return {
            **sequences(count, seed),
            "labels": torch.rand(count, *shape, generator=generator, dtype=torch.float64),
        }

    task = SequenceClassification()
    check(lambda seed: bert(seed, labels=1), task, squared, labelled(5, 1), labelled(2, 2))
    check(bert, task, yes_or_no, labelled(5, 1, 3), labelled(2, 2, 3))


def estimator(task, training, model=None):
    model = model or bert(0)
    return TracInCP(model, training, [(bert(1).state_dict(), 0.1)], task=task, batch_size=2)


def test_batches_without_what_the_task_reads_are_refused():
    training = items(classification(3, 1))
    with pytest.raises(BatchError, match="no labels under 'label'"):
        estimator(SequenceClassification(labels="label"), training).influence()
    with pytest.raises(BatchError, match="a mapping is expected"):
        estimator(SequenceClassification(), [(torch.ones(2), 1)] * 3).influence()
    with pytest.raises(BatchError, match="neither 'labels' nor 'input_ids'"):
        CausalLanguageModelling().losses(lambda **_: None, {"inputs_embeds": torch.ones(1, 2, 3)})


def test_a_model_without_logits_is_refused_with_the_remedy():
    with pytest.raises(LossError, match=r"without a tensor `logits`.*Task of your own"):
        SequenceClassification().losses(lambda **_: {"hidden": 1}, classification(2, 1))


def test_labels_that_do_not_fit_the_logits_are_refused():
    batch = {**sequences(3, 1), "labels": torch.rand(3, 2)}
    with pytest.raises(LossError, match=r"labels of shape \(3, 2\).*logits of shape \(3, 3\)"):
        SequenceClassification().losses(bert(0), batch)


def test_a_task_of_ones_own_returns_a_loss_per_example():
    class Mean(SequenceClassification):
        def losses(self, model, batch):
            return super().losses(model, batch).mean()

    with pytest.raises(LossError, match=r"Mean.losses returned a tensor of shape \(\)"):
        estimator(Mean(), items(classification(3, 1))).influence()
