"""Per-example losses against what the models, and transformers' Trainer, make of labels."""

import pytest
import torch
from torch import nn
from transformers import BatchEncoding
from transformers.trainer_pt_utils import LabelSmoother

from headwater import BatchError, InputError, LossError, ModelError
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
    classification,
    estimator,
    gpt2,
    items,
    llama,
    pairs,
    sequences,
    t5,
    tagged,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def with_labels(batch):
    return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}


def texts(count, seed):
    return with_labels(sequences(count, seed))


TOKEN_CASES = [
    (gpt2, CausalLanguageModelling, texts, 1),
    (llama, CausalLanguageModelling, texts, 1),
    (bert_of_tokens, TokenClassification, tagged, 0),
    (t5, Seq2SeqLanguageModelling, pairs, 0),
    (bart, Seq2SeqLanguageModelling, pairs, 0),
]


@pytest.mark.parametrize(("build", "task", "batches", "shift"), TOKEN_CASES)
def test_losses_add_up_to_the_models_own_mean_times_its_tokens(build, task, batches, shift):
    model, batch = build(1).eval(), batches(5, 1)
    counted = int((batch["labels"][:, shift:] != -100).sum())
    own = model(**batch).loss.double() * counted
    # Some of the models' own losses are in float32.
    torch.testing.assert_close(task().losses(model, batch).sum(), own, rtol=1e-6, atol=0)
    if task is CausalLanguageModelling:
        # What Trainer passes where it accumulates batches: a sum divided by one number for all.
        accumulated = model(**batch, num_items_in_batch=torch.tensor(7)).loss.double() * 7
        torch.testing.assert_close(accumulated, own, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("build", "task", "batches", "shift"), TOKEN_CASES)
def test_label_smoothing_is_that_of_trainer(build, task, batches, shift):
    model, batch = build(1).eval(), batches(5, 1)
    counted = int((batch["labels"][:, shift:] != -100).sum())
    inputs = {key: column for key, column in batch.items() if key != "labels"}
    if task is Seq2SeqLanguageModelling:
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    smoothed = LabelSmoother(epsilon=0.2)(model(**inputs), batch["labels"], shift == 1) * counted
    losses = task(label_smoothing=0.2).losses(model, batch)
    # The smoother adds up in float32.
    torch.testing.assert_close(losses.sum(), smoothed.double(), rtol=1e-6, atol=0)
    assert not torch.allclose(losses.sum(), task().losses(model, batch).sum(), rtol=1e-3)


def labelled(kind, count=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    labels = {
        "single": torch.randint(3, (count,), generator=generator),
        "several": torch.randint(2, (count, 3), generator=generator).double(),
        "real": torch.rand(count, generator=generator, dtype=torch.float64),
        "column": torch.rand(count, 1, generator=generator, dtype=torch.float64),
        "stars": torch.randint(1, 6, (count,), generator=generator),
        "reals": torch.rand(count, 3, generator=generator, dtype=torch.float64),
    }[kind]
    return {**sequences(count, seed), "labels": labels}


@pytest.mark.parametrize(
    ("kind", "logits", "said"),
    [
        ("single", 3, None),
        ("single", 3, "single_label_classification"),
        ("several", 3, None),
        ("several", 3, "multi_label_classification"),
        ("real", 1, None),
        ("column", 1, "regression"),
        ("reals", 3, "regression"),
    ],
)
@pytest.mark.parametrize("where", ["config", "task"])
def test_losses_of_every_problem_type_are_the_models_own(kind, logits, said, where):
    model, batch = bert(1, labels=logits, problem_type=said).eval(), labelled(kind)
    own = [
        model(**{key: column[i : i + 1] for key, column in batch.items()}).loss for i in range(5)
    ]
    task = SequenceClassification(problem_type=said if where == "task" else None)
    torch.testing.assert_close(task.losses(model, batch), torch.stack(own), rtol=1e-9, atol=0)


def test_whole_numbers_with_one_logit_are_regression():
    model, batch = bert(1, labels=1).eval(), labelled("stars")
    found = SequenceClassification().losses(model, batch)
    inputs = {key: column for key, column in batch.items() if key != "labels"}
    expected = (model(**inputs).logits[:, 0] - batch["labels"]) ** 2
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_label_smoothing_of_a_single_label_is_that_of_trainer():
    model, batch = bert(1).eval(), classification(5, 1)
    inputs = {key: column for key, column in batch.items() if key != "labels"}
    smoothed = LabelSmoother(epsilon=0.2)(model(**inputs), batch["labels"])
    losses = SequenceClassification(label_smoothing=0.2).losses(model, batch)
    torch.testing.assert_close(losses.mean(), smoothed.double(), rtol=1e-6, atol=0)


class AsTuple(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        return self.model(**inputs, return_dict=False)


@pytest.mark.parametrize(
    ("build", "task", "batches"),
    [
        (bert, SequenceClassification, classification),
        (bert_of_tokens, TokenClassification, tagged),
        (gpt2, CausalLanguageModelling, texts),
    ],
)
def test_models_that_return_tuples_have_the_same_losses(build, task, batches):
    model, batch = build(1).eval(), batches(5, 1)
    expected = task().losses(model, batch)
    torch.testing.assert_close(task().losses(AsTuple(model), batch), expected, rtol=0, atol=0)


def test_losses_are_taken_in_float32_of_a_model_in_half_precision():
    model, batch = gpt2(1).eval().bfloat16(), texts(3, 1)
    losses = CausalLanguageModelling().losses(model, batch)
    assert losses.dtype == torch.float32
    counted = int((batch["labels"][:, 1:] != -100).sum())
    torch.testing.assert_close(losses.sum(), model(**batch).loss * counted, rtol=1e-5, atol=0)


def test_what_the_decoder_reads_may_be_in_the_batch():
    model, batch, task = t5(1).eval(), pairs(3, 1), Seq2SeqLanguageModelling()
    read = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    given = task.losses(model, {**batch, "decoder_input_ids": read})
    torch.testing.assert_close(given, task.losses(model, batch), rtol=0, atol=0)
    with pytest.raises(ModelError, match="must say what the decoder reads: decoder_input_ids"):
        task.losses(gpt2(1), batch)


def test_encodings_of_a_tokenizer_are_batches_and_queries():
    task, training, query = SequenceClassification(), classification(5, 1), classification(2, 2)
    made = estimator(bert, task, items(training))
    encoded = BatchEncoding(query)
    torch.testing.assert_close(made.influence(encoded), made.influence(query), rtol=0, atol=0)


def test_an_example_without_a_label_is_refused_by_its_place():
    batch = classification(5, 1)
    batch["labels"][4] = -100
    with pytest.raises(BatchError, match=r"example 1 of a batch of 2 has no label.*all 1 of them"):
        estimator(bert, SequenceClassification(), items(batch)).influence()
    # The first token is nobody's target.
    lone = texts(3, 1)
    lone["labels"][1, 1:] = -100
    with pytest.raises(BatchError, match=r"example 1 of a batch of 3.*truncation cut off"):
        estimator(gpt2, CausalLanguageModelling(), items(lone)).influence()


def test_labels_of_the_wrong_kind_are_refused():
    with pytest.raises(InputError, match="problem_type is 'ranking'; expected one of regression"):
        SequenceClassification(problem_type="ranking")
    batch = {**sequences(3, 1), "labels": torch.ones(3, 2).int()}
    with pytest.raises(LossError, match=r"don't fit.*single_label_classification: expected int"):
        SequenceClassification().losses(bert(1), batch)
    batch = {**sequences(3, 1), "labels": torch.zeros(3, 4, dtype=torch.long)}
    with pytest.raises(LossError, match=r"shape \(3, 4\) and the logits \(3, 6, 4\)"):
        TokenClassification().losses(bert_of_tokens(1), batch)
