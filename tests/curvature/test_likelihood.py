"""Drawn output gradients: their covariance is the Hessian of the loss by the output."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
    nll_loss,
)

from headwater import EKFAC, KFAC, CurvatureError, InfluenceFunction
from headwater.curvature.find_likelihood import find_likelihood, named_likelihood
from headwater.tasks import CausalLanguageModelling, LossTask
from tests.curvature.models import CASES, made

DRAWS = 40_000
WEIGHT = torch.tensor([0.5, 2.0, 1.0]).double()


def covariance(likelihood, outputs: Tensor, batch: object) -> Tensor:
    """Of draws for many examples that are all alike."""
    many = outputs.expand(DRAWS, *outputs.shape[1:])
    drawn = likelihood.draw(many, batch, torch.arange(DRAWS), 0).reshape(DRAWS, -1)
    assert drawn.mean(dim=0).abs().max() < 0.03
    return drawn.T @ drawn / DRAWS


def hessian(loss, outputs: Tensor) -> Tensor:
    flat = outputs.flatten()
    return torch.autograd.functional.hessian(lambda f: loss(f.reshape(outputs.shape)).sum(), flat)


LABEL = torch.tensor([1])
LOSSES = {
    "cross-entropy": (nn.CrossEntropyLoss(reduction="none"), LABEL, (3,)),
    "weighted by class": (nn.CrossEntropyLoss(weight=WEIGHT, reduction="none"), LABEL, (3,)),
    "smoothed": (
        nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.3, reduction="none"),
        LABEL,
        (3,),
    ),
    "mean over positions": (
        nn.CrossEntropyLoss(reduction="mean"),
        torch.tensor([[0, 2]]),
        (3, 2),
    ),
    "a position that is ignored": (
        nn.CrossEntropyLoss(reduction="sum", ignore_index=7),
        torch.tensor([[0, 7]]),
        (3, 2),
    ),
    "probabilities as targets": (
        partial(cross_entropy, reduction="none"),
        torch.tensor([[0.2, 0.3, 0.1]]).double(),
        (3,),
    ),
    "binary": (nn.BCEWithLogitsLoss(reduction="sum"), torch.tensor([[1.0, 0.0]]).double(), (2,)),
    "positive labels weigh more": (
        partial(
            binary_cross_entropy_with_logits,
            reduction="mean",
            pos_weight=torch.tensor([3.0, 2.0]).double(),
        ),
        torch.tensor([[1.0, 0.0]]).double(),
        (2,),
    ),
    "squared error": (nn.MSELoss(reduction="mean"), torch.tensor([[1.0, 0.0]]).double(), (2,)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_drawn_gradients_have_the_hessian_as_covariance(name: str) -> None:
    loss, target, shape = LOSSES[name]
    outputs = torch.linspace(-1, 1.5, torch.Size(shape).numel()).double().reshape(1, *shape)
    reduction = getattr(loss, "reduction", None) or loss.keywords["reduction"]
    likelihood = find_likelihood(LossTask(loss, reduction=reduction), nn.Linear(1, 1))
    assert likelihood is not None
    many = target.expand(DRAWS, *target.shape[1:])
    found = covariance(likelihood, outputs, (None, many))
    wanted = hessian(lambda f: loss(f, target), outputs)
    torch.testing.assert_close(found, wanted, rtol=0.03, atol=0.01)


def test_tokens_are_predicted_one_place_ahead() -> None:
    task = CausalLanguageModelling()
    likelihood = find_likelihood(task, nn.Linear(1, 1))
    assert likelihood is not None
    outputs = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 0, 0]])
    batch = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])}
    drawn = likelihood.draw(outputs, batch, torch.arange(2), 0)
    counted = drawn.ne(0).any(dim=2)
    assert counted.tolist() == [[True, True, True, False], [True, False, False, False]]


def test_draws_belong_to_examples_and_not_to_batches() -> None:
    likelihood = find_likelihood(LossTask(nn.CrossEntropyLoss(), reduction="mean"), nn.Linear(1, 1))
    assert likelihood is not None
    outputs = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()
    batch = (None, torch.zeros(20).long())
    whole = likelihood.draw(outputs, batch, torch.arange(20), 3)
    part = likelihood.draw(outputs[7:9], (None, batch[1][7:9]), torch.arange(7, 9), 3)
    assert torch.equal(whole[7:9], part)
    assert not torch.equal(whole, likelihood.draw(outputs, batch, torch.arange(20), 4))


def test_log_probabilities_draw_the_same_labels_as_logits() -> None:
    found = made(CASES["linear"])
    model = nn.Sequential(*found.model, nn.LogSoftmax(dim=1))
    scores = InfluenceFunction(found.model, found.dataset, nn.CrossEntropyLoss(reduction="none"))
    logs = InfluenceFunction(model, found.dataset, partial(nll_loss, reduction="none"))
    torch.testing.assert_close(logs.influence(*found.queries), scores.influence(*found.queries))


def own(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs, targets, reduction="none")


def test_a_loss_of_ones_own_needs_its_likelihood_said() -> None:
    found = made(CASES["linear"])
    with pytest.raises(CurvatureError, match="own doesn't say from which distribution"):
        InfluenceFunction(found.model, found.dataset, own).influence()
    said = InfluenceFunction(
        found.model, found.dataset, own, curvature=EKFAC(likelihood="categorical")
    )
    known = InfluenceFunction(found.model, found.dataset, nn.CrossEntropyLoss(reduction="none"))
    assert torch.equal(said.influence(*found.queries), known.influence(*found.queries))
    with pytest.raises(CurvatureError, match="'poisson'; expected one of"):
        EKFAC(likelihood="poisson")


def test_true_labels_make_the_empirical_fisher_matrix_of_any_loss() -> None:
    found = made(CASES["embedding"])
    estimator = InfluenceFunction(found.model, found.dataset, own, curvature=EKFAC(targets="true"))
    rows = []
    for inputs, label in found.dataset:
        loss = own(found.model(inputs[None]), label[None]).sum()
        rows.append(torch.autograd.grad(loss, [found.model.embedding.weight])[0].flatten())
    squares = torch.stack(rows).square().mean(dim=0)
    assert "the empirical Fisher matrix" in estimator.fit().description
    mean = f"embedding.weight: diagonal (24), mean eigenvalue {float(squares.mean()):.3g}"
    assert mean in estimator.description
    with pytest.raises(CurvatureError, match="targets is 'drawn'"):
        EKFAC(targets="drawn")


def test_squared_error_of_one_output_each() -> None:
    outputs = torch.tensor([[0.3]]).double()
    likelihood = find_likelihood(
        LossTask(partial(mse_loss, reduction="sum"), reduction="sum"), nn.Linear(1, 1)
    )
    found = covariance(likelihood, outputs, (None, torch.zeros(DRAWS, 1)))
    assert 1.95 < float(found) < 2.05


def test_classes_along_the_last_axis_have_a_name_of_their_own():
    outputs = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1)).double()
    index = torch.arange(3)
    drawn = named_likelihood("categorical-last").draw(outputs, None, index, 2)
    # Each position's gradient is its probabilities less a one at the class that was drawn.
    torch.testing.assert_close(drawn.sum(dim=2), torch.zeros(3, 5).double())
    turned = named_likelihood("categorical").draw(outputs.mT, None, index, 2)
    assert torch.equal(drawn, turned.mT)


@pytest.mark.parametrize("classes_last", [True, False])
def test_classes_along_the_other_axis_are_refused_where_no_shape_tells(classes_last):
    class Texts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(6, 5)
            self.head = nn.Linear(5, 4)

        def forward(self, ids: Tensor) -> Tensor:
            logits = self.head(self.embedding(ids))
            return logits if classes_last else logits.mT

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        logits = outputs.mT if classes_last else outputs
        return cross_entropy(logits, targets, reduction="none").mean(dim=1)

    torch.manual_seed(3)
    # As many positions as classes.
    texts, labels = torch.randint(6, (7, 4)), torch.randint(4, (7, 4))
    model = Texts()

    def fit(likelihood) -> None:
        InfluenceFunction(
            model,
            [(text, label) for text, label in zip(texts, labels, strict=True)],
            loss_fn=loss,
            curvature=KFAC(likelihood=likelihood),
        ).fit()

    right, wrong = "categorical-last", "categorical"
    if not classes_last:
        right, wrong = wrong, right
    fit(right)
    with pytest.raises(CurvatureError, match=f"Pass likelihood='{right}'"):
        fit(wrong)
