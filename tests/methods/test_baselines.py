"""The baselines against what they are, written down plainly."""

import pytest
import torch
from torch import nn

from headwater import (
    BM25,
    InputError,
    ModelError,
    RandomScores,
    RepresentationSimilarity,
    SelectionError,
    TrainingLoss,
)
from tests.estimators.small import (
    QUERIES,
    TRAINING,
    N,
    Stream,
    cross_entropy,
    dataset,
    model,
    states,
)
from tests.oracles import methods

from .common import OPTIONS, assert_close, make, random_numbers_left_alone


def through(state, layers, inputs):
    """The representation of inputs after so many of the small model's layers."""
    net = model().eval()
    net.load_state_dict(state)
    h = net.fc10(torch.tanh(net.fc1(inputs)))
    return (h if layers == "fc10" else torch.tanh(net.body(h))).detach()


def test_training_loss_is_averaged_over_checkpoints():
    net, expected = model().eval(), 0
    for state in states():
        net.load_state_dict(state)
        expected = expected + cross_entropy(net(TRAINING[0]), TRAINING[1]).detach() / 2
    estimator = make(TrainingLoss)
    with random_numbers_left_alone():
        assert_close(estimator.influence(), expected)
    assert_close(estimator.attribute().tensor()[0], expected)
    assert_close(make(TrainingLoss, loss_fn=nn.CrossEntropyLoss()).influence(), expected)
    assert_close(make(TrainingLoss, data=Stream()).influence(), expected)
    with pytest.raises(InputError, match="has no queries"):
        estimator.influence(*QUERIES)
    with pytest.raises(InputError, match="needs the loss"):
        make(TrainingLoss, loss_fn=None)


@pytest.mark.parametrize("layer", [None, "fc10"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_representations_are_compared(layer, similarity):
    expected, own = 0, 0
    for state in states():
        q, n = (through(state, layer, part[0]) for part in (QUERIES, TRAINING))
        product = methods.cosine(q, n) if similarity == "cosine" else q @ n.T
        expected, own = expected + product / 2, own + n.square().sum(dim=1) / 2
    estimator = make(RepresentationSimilarity, layer=layer, similarity=similarity)
    net = estimator.model
    with random_numbers_left_alone():
        assert_close(estimator.influence(*QUERIES), expected)
    assert not any(module._forward_hooks for module in net.modules())
    top = estimator.influence(QUERIES[0], k=2, proponents=False)
    assert torch.equal(top.indices, expected.argsort(dim=1)[:, :2])
    assert_close(estimator.attribute(*QUERIES).over_queries().tensor()[0], expected.sum(dim=0))
    if similarity == "dot":
        assert_close(estimator.influence(), own)
    else:
        with pytest.raises(InputError, match="no self-influence"):
            estimator.influence()


def test_layers_that_can_not_represent_an_example_are_refused():
    with pytest.raises(SelectionError, match="no module of the model"):
        make(RepresentationSimilarity, layer="fc2")
    with pytest.raises(SelectionError, match=r"no nn\.Linear"):
        RepresentationSimilarity(nn.Conv1d(1, 1, 1), dataset(), states())
    with pytest.raises(InputError, match="expected 'cosine' or 'dot'"):
        make(RepresentationSimilarity, similarity="euclidean")
    shared = nn.Linear(5, 5).double()
    net = nn.Sequential(shared, nn.Tanh(), shared)
    twice = RepresentationSimilarity(net, dataset(), [dict(net.state_dict())], layer="0", **OPTIONS)
    with pytest.raises(ModelError, match="called 2 times"):
        twice.influence(*QUERIES)


def test_pooling_makes_lengths_comparable():
    net = nn.Sequential(nn.Linear(2, 3), nn.Flatten(), nn.Linear(12, 2)).double()
    inputs = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = torch.utils.data.TensorDataset(inputs, torch.tensor([0, 1, 0]))
    pooled = RepresentationSimilarity(
        net,
        data,
        [dict(net.state_dict())],
        layer="0",
        pool=lambda h: h.mean(dim=1),
        similarity="dot",
    )
    means = net[0](inputs).mean(dim=1).detach()
    assert_close(pooled.influence(inputs), means @ means.T)


def test_random_scores_are_the_same_for_a_seed():
    with random_numbers_left_alone():
        first = RandomScores(dataset(), seed=3)
        scores = first.influence(*QUERIES)
    assert scores.shape == (2, N)
    assert torch.equal(scores, RandomScores(dataset(), seed=3).influence(QUERIES[0]))
    assert not torch.equal(scores, RandomScores(dataset(), seed=4).influence(QUERIES[0]))
    assert first.influence().shape == (N,)
    assert torch.equal(first.influence(*QUERIES, k=1).indices[:, 0], scores.argmax(dim=1))
    large = RandomScores([0] * 20_000).influence()
    assert abs(float(large.mean())) < 0.03
    assert abs(float(large.std()) - 1) < 0.03
    with pytest.raises(InputError, match="stream"):
        RandomScores(Stream())


TEXTS = [
    "The cat sat on the mat.",
    "A dog, a dog and another dog",
    "the mat was the cat's",
    "nothing",
]


def test_bm25_is_its_formula():
    queries = ["the cat the dog", "nothing else"]
    expected = torch.tensor([methods.bm25(one, TEXTS, 1.2, 0.6) for one in queries])
    estimator = BM25(TEXTS, k1=1.2, b=0.6)
    torch.testing.assert_close(estimator.influence(queries), expected)
    top = estimator.influence(queries, k=1)
    assert top.indices.tolist() == [[int(row.argmax())] for row in expected]
    assert estimator.influence("nothing").shape == (1, 4)
    table = estimator.attribute(queries, examples={"text": TEXTS})
    torch.testing.assert_close(table.over_queries().tensor()[0], expected.sum(dim=0))
    by_letter = BM25(TEXTS, words=list).influence("q")
    assert not by_letter.any()


def test_bm25_refuses_what_is_no_text():
    with pytest.raises(InputError, match="no self-influence"):
        BM25(TEXTS).influence()
    for texts in ("one text", [1, 2], [], None):
        with pytest.raises(InputError, match="list of texts"):
            BM25(texts)
    with pytest.raises(InputError, match="0 <= b <= 1"):
        BM25(TEXTS, b=2)
