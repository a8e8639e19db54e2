"""Datasets of Hugging Face, and rows as dicts, as training data and as queries."""

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

from headwater import BatchError, GradientStore, InputError
from headwater.tasks import CausalLanguageModelling, SequenceClassification
from tests.tasks.tiny import VOCABULARY, bert, classification, estimator, gpt2, items, sequences

datasets = pytest.importorskip("datasets", reason="needs datasets: pip install datasets")
tokenizers = pytest.importorskip("tokenizers")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TASK = SequenceClassification()


@pytest.fixture(scope="module")
def tokenizer():
    words = {"[PAD]": 0, **{f"w{i}": i for i in range(1, VOCABULARY)}}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[PAD]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]")


def texts(count, seed):
    """The sentences of `classification`, as texts without padding."""
    batch = classification(count, seed)
    return {
        "text": [" ".join(f"w{i}" for i in row if i) for row in batch["input_ids"].tolist()],
        "label": batch["labels"].tolist(),
        "source": [f"page {i}" for i in range(count)],
        "idx": list(range(count)),
    }


def tokenised(tokenizer, count, seed):
    rows = datasets.Dataset.from_dict(texts(count, seed))
    return rows.map(lambda some: tokenizer(some["text"]), batched=True)


@pytest.fixture(scope="module")
def expected():
    return estimator(bert, TASK, items(classification(5, 1))).influence(classification(2, 2))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_dataset_with_a_collator_is_training_data_and_queries(tokenizer, expected):
    rows, queries = tokenised(tokenizer, 5, 1), tokenised(tokenizer, 2, 2)
    collator = DataCollatorWithPadding(tokenizer)
    for batch_size in (2, "auto"):
        made = estimator(bert, TASK, rows, collate_fn=collator, batch_size=batch_size)
        for asked in (
            queries,
            list(queries),
            collator(list(queries.remove_columns(["text", "source", "idx"]))),
        ):
            close(made.influence(asked), expected)


def test_rows_without_a_collator_stack_where_their_lengths_agree(expected):
    padded = classification(5, 1)
    lists = [{key: part.tolist() for key, part in row.items()} for row in items(padded)]
    query = classification(2, 2)
    for rows in (lists, datasets.Dataset.from_list(lists), items(padded)):
        close(estimator(bert, TASK, rows).influence(query), expected)
        close(estimator(bert, TASK, rows).influence(items(query)), expected)
    torch_rows = datasets.Dataset.from_list(lists).with_format("torch")
    close(estimator(bert, TASK, DataLoader(torch_rows, batch_size=2)).influence(query), expected)


def test_a_collator_of_ones_own_gets_whole_rows(tokenizer, expected):
    def collate(rows):
        encoded = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
        return {**encoded, "labels": torch.tensor([row["label"] for row in rows])}

    raw = datasets.Dataset.from_dict(texts(5, 1))
    made = estimator(bert, TASK, raw, collate_fn=collate)
    close(made.influence(datasets.Dataset.from_dict(texts(2, 2))), expected)


def test_texts_that_a_loader_leaves_in_batches_are_not_passed_on(expected):
    rows = [{**row, "text": "as it was"} for row in items(classification(5, 1))]
    found = estimator(bert, TASK, DataLoader(rows, batch_size=2)).influence(classification(2, 2))
    close(found, expected)


def test_a_store_is_appended_to_with_the_estimators_collator(tokenizer, tmp_path):
    collator = DataCollatorWithPadding(tokenizer)
    made = estimator(bert, TASK, tokenised(tokenizer, 5, 1), collate_fn=collator)
    store = GradientStore.build(made, tmp_path / "store", dtype="float64")
    store.append(tokenised(tokenizer, 2, 2))
    query = tokenised(tokenizer, 2, 3)
    scores = store.scores(query)
    assert scores.shape == (2, 7)
    close(scores[:, :5], made.influence(query))


def test_what_cannot_be_a_batch_is_refused_with_the_remedy(tokenizer):
    collator = DataCollatorWithPadding(tokenizer)
    raw, rows = datasets.Dataset.from_dict(texts(5, 1)), tokenised(tokenizer, 5, 1)
    only_texts = raw.select_columns(["text", "label"])
    for options in ({}, {"collate_fn": collator}):
        with pytest.raises(BatchError, match=r"rows have 'text'.*isn't tokenised; tokenise it"):
            estimator(bert, TASK, only_texts, **options).influence()
    with pytest.raises(BatchError, match=r"texts under 'text' and nothing.*isn't tokenised"):
        estimator(bert, TASK, DataLoader(only_texts, batch_size=2)).influence()
    with pytest.raises(BatchError, match=r"don't stack to a batch; pass a collator that pads"):
        estimator(bert, TASK, rows, batch_size=5).influence()
    lists = [{"input_ids": [1, 2, 3], "labels": 1}] * 3
    with pytest.raises(BatchError, match=r"'input_ids' of a batch is a list of 3.*collate_fn"):
        estimator(bert, TASK, DataLoader(lists, batch_size=2)).influence()
    named_otherwise = [{**row, "label": row["labels"]} for row in items(classification(5, 1))]
    for row in named_otherwise:
        del row["labels"]
    with pytest.raises(BatchError, match=r"no labels under 'labels'; if 'label' holds them"):
        estimator(bert, TASK, named_otherwise).influence()
    found = estimator(bert, SequenceClassification(labels="label"), named_otherwise).influence()
    close(found, estimator(bert, TASK, items(classification(5, 1))).influence())
    with pytest.raises(BatchError, match="a query needs labels too"):
        estimator(bert, TASK, items(classification(5, 1))).influence(sequences(2, 2))


def test_misplaced_datasets_and_collators_are_refused(tokenizer):
    collator, rows = DataCollatorWithPadding(tokenizer), items(classification(5, 1))
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict(texts(5, 1))})
    for training, options, message in (
        (splits, {}, r"a DatasetDict with keys \['train'\]; expected one of its entries"),
        (classification(5, 1), {}, r"a dict with keys.*expected a Dataset of examples"),
        (rows, {"collate_fn": DataCollatorWithPadding}, "is the class DataCollatorWithPadding"),
        (rows, {"collate_fn": 3}, "collate_fn is a int; expected a function"),
        (DataLoader(rows), {"collate_fn": collator}, "give collate_fn to the DataLoader"),
    ):
        with pytest.raises(InputError, match=message):
            estimator(bert, TASK, training, **options)


def test_language_models_read_rows_without_labels(tokenizer):
    batch = sequences(5, 1)
    rows = [{"input_ids": [i for i in ids if i]} for ids in batch["input_ids"].tolist()]
    collator = DataCollatorWithPadding(tokenizer)
    made = estimator(gpt2, CausalLanguageModelling(), rows, collate_fn=collator)
    same = estimator(gpt2, CausalLanguageModelling(), items(batch))
    close(made.influence(rows[:2]), same.influence(batch)[:2])
