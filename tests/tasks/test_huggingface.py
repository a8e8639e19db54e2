"""Models in the style of Hugging Face, with dict batches, against plain autograd loops."""

import pytest
import torch
from torch.nn import functional as F

from headwater import BatchError, LossError, TracInCP
from headwater.tasks import (
    CausalLanguageModelling,
    Seq2SeqLanguageModelling,
    SequenceClassification,
    TokenClassification,
)
from tests.tasks.tiny import (
    bart,
    bert,
    bert_of_tokens,
    check,
    classification,
    gpt2,
    items,
    llama,
    pairs,
    sequences,
    t5,
    tagged,
    tied_llama,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


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


def sum_over_tags(model, example):
    inputs = {key: column for key, column in example.items() if key != "labels"}
    logits, labels = model(**inputs).logits[0], example["labels"][0]
    return sum(F.cross_entropy(logits[t], labels[t]) for t in range(len(labels)) if labels[t] >= 0)


def token_by_token(model, example):
    """Each of the target's tokens from the tokens before it, which the decoder is given."""
    length = int(example["attention_mask"].sum())
    source, target = example["input_ids"][:, :length], example["labels"][0]
    target = target[target != -100]
    start = torch.tensor([model.config.decoder_start_token_id])
    read = torch.cat([start, target[:-1]])[None]
    logits = model(input_ids=source, decoder_input_ids=read, use_cache=False).logits[0]
    return sum(F.cross_entropy(logits[t], target[t]) for t in range(len(target)))


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_sequence_classification_equals_the_oracle(batch_size):
    training, query = classification(5, 1), classification(2, 2)
    check(bert, SequenceClassification(), cross_entropy, training, query, batch_size)


def test_token_classification_equals_the_oracle():
    check(bert_of_tokens, TokenClassification(), sum_over_tags, tagged(5, 1), tagged(2, 2))


@pytest.mark.parametrize("build", [t5, bart])
def test_sequence_to_sequence_models_equal_the_oracle_with_padding_cut_out(build):
    check(build, Seq2SeqLanguageModelling(), token_by_token, pairs(5, 1), pairs(2, 2))


@pytest.mark.parametrize("build", [gpt2, llama, tied_llama])
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
