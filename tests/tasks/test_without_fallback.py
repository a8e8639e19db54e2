"""What transformers' models are made of is captured by rules, not by a pass per example."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from headwater import TracInCP
from headwater.tasks import (
    CausalLanguageModelling,
    Seq2SeqLanguageModelling,
    SequenceClassification,
    TokenClassification,
)
from tests.oracles import tracin
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
    tied_llama,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize(
    ("build", "task", "batches"),
    [
        (bert, SequenceClassification(), classification),
        (bert_of_tokens, TokenClassification(), tagged),
        (gpt2, CausalLanguageModelling(), sequences),
        (llama, CausalLanguageModelling(), sequences),
        (tied_llama, CausalLanguageModelling(), sequences),
        (t5, Seq2SeqLanguageModelling(), pairs),
        (bart, Seq2SeqLanguageModelling(), pairs),
    ],
)
def test_models_of_transformers_need_no_fallback(build, task, batches, caplog):
    with caplog.at_level(logging.INFO, logger="headwater"):
        estimator(build, task, items(batches(5, 1))).influence(batches(2, 2))
    assert "torch.func" not in caplog.text


class ShiftedRMSNorm(nn.Module):
    """As Gemma has it: times one plus the weight."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, x):
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + self.weight)


class OtherRMSNorm(ShiftedRMSNorm):
    """One that isn't linear in its weight, so that the rule is wrong."""

    def forward(self, x):
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight.exp()


class CountedEmbedding(nn.Embedding):
    """Scaled, its ids counted from the other end."""

    def forward(self, ids):
        return super().forward(self.num_embeddings - 1 - ids) * 3


class UnusedEmbedding(nn.Embedding):
    """Its table is used without a look-up."""

    def forward(self, ids):
        return F.one_hot(ids, self.num_embeddings).to(self.weight.dtype) @ self.weight


def net(table, norm):
    torch.manual_seed(0)
    model = nn.Sequential(table(7, 4), norm(4), nn.Flatten(), nn.Linear(20, 2)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.3)
    return model


@pytest.mark.parametrize(
    ("table", "norm", "in_fallback"),
    [
        (CountedEmbedding, ShiftedRMSNorm, []),
        (UnusedEmbedding, ShiftedRMSNorm, ["0.weight"]),
        (CountedEmbedding, OtherRMSNorm, ["1.weight"]),
    ],
)
def test_layers_that_are_recognised_are_right_or_in_the_fallback(table, norm, in_fallback, caplog):
    model = net(table, norm)
    ids = torch.randint(7, (5, 5), generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 1, 0, 1])
    checkpoints = [({name: p.clone() for name, p in model.state_dict().items()}, 0.3)]
    with caplog.at_level(logging.INFO, logger="headwater"):
        found = TracInCP(
            model,
            list(zip(ids, labels, strict=True)),
            checkpoints,
            loss_fn=nn.CrossEntropyLoss(reduction="none"),
            batch_size=3,
        ).influence()
    moved = [name for name in ("0.weight", "1.weight") if name in caplog.text]
    assert moved == in_fallback
    expected = tracin.self_influence(
        model,
        checkpoints,
        lambda model, example: F.cross_entropy(model(example[0]), example[1]),
        [(ids[i : i + 1], labels[i : i + 1]) for i in range(5)],
        tracin.trainable_names(model),
    )
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
