"""Methods on models of Hugging Face: a task in the place of the loss, texts of many tokens."""

import pytest
import torch
from torch.nn import functional as F

from headwater import LESS, TRAK, CheckpointRecorder, LoGra, Projected, RepresentationSimilarity
from headwater.tasks import CausalLanguageModelling, SequenceClassification
from tests.oracles import methods, tracin
from tests.tasks.tiny import bert, classification, gpt2, items, sequences, singles

from .common import assert_close, matrix_of
from .test_logra import sides

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def log_odds(model, example):
    inputs = {key: column for key, column in example.items() if key != "labels"}
    p = model(**inputs).logits.softmax(dim=1)[0, int(example["labels"])]
    return torch.log(p / (1 - p))


def gradients(module, loss, *batches):
    names = tracin.trainable_names(module)
    return [tracin.per_example_gradients(module, loss, singles(batch), names) for batch in batches]


def parameters(module):
    return {name: p.shape for name, p in module.named_parameters() if p.requires_grad}


def test_trak_makes_log_odds_of_a_tasks_losses():
    training, query = classification(5, 1), classification(2, 2)
    module = bert(0)
    state = {key: value.clone() for key, value in bert(1).state_dict().items()}
    module.load_state_dict(state)
    rows = gradients(module, log_odds, query, training)
    right = torch.stack([log_odds(module, one).detach() for one in singles(training)]).sigmoid()
    matrix = matrix_of(Projected(7, 3), 0, parameters(module))
    expected = methods.trak([rows[0]], [rows[1]], [right], [matrix], "auto")
    estimator = TRAK(
        bert(0),
        items(training),
        [state],
        dim=7,
        seed=3,
        task=SequenceClassification(),
        batch_size=3,
    )
    assert_close(estimator.influence(query), expected, 1e-8)


def test_logra_sums_over_the_tokens_of_texts_of_different_lengths():
    training, query = sequences(5, 1), sequences(2, 2)
    module = gpt2(0)
    state = {key: value.clone() for key, value in gpt2(1).state_dict().items()}
    module.load_state_dict(state)

    def loss(model, example):
        length = int(example["attention_mask"].sum())
        ids = example["input_ids"][:, :length]
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        return F.cross_entropy(logits, ids[0, 1:], reduction="sum")

    rows = gradients(module.eval(), loss, query, training)
    expected = methods.logra([rows[0]], [rows[1]], sides(3, 1, parameters(module)), 0.5)
    estimator = LoGra(
        gpt2(0),
        items(training),
        [state],
        dim=3,
        seed=1,
        damping=0.5,
        task=CausalLanguageModelling(),
        batch_size=3,
    )
    assert_close(estimator.influence(query), expected, 1e-8)


def test_less_and_representations_take_a_task(tmp_path):
    training, query = classification(5, 1), classification(2, 2)
    module, task = bert(0), SequenceClassification()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    with CheckpointRecorder(tmp_path / "run", module, optimizer, every=1, moments=True):
        for _ in range(2):
            optimizer.zero_grad()
            task.losses(module, training).mean().backward()
            optimizer.step()
    less = LESS(bert(0), items(training), tmp_path / "run", dim=16, task=task)
    scores = less.influence(query)
    assert scores.shape == (2, 5)
    assert float(scores.abs().max()) <= 0.02 + 1e-9
    state = {key: value.clone() for key, value in module.state_dict().items()}
    alike = RepresentationSimilarity(
        bert(0), items(training), [state], task=task, similarity="dot", batch_size=3
    )
    inputs = [
        {key: column for key, column in part.items() if key != "labels"}
        for part in (query, training)
    ]
    with torch.no_grad():
        pooled = [module.eval().bert(**part).pooler_output for part in inputs]
    assert_close(alike.influence(query), pooled[0] @ pooled[1].T)
