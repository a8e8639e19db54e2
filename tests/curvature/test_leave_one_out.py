"""The exact influence function against leaving out and training again, where that is exact."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from headwater import Exact, InfluenceFunction

CLASSES, WEIGHT_DECAY = 10, 0.01
N, Q, LEFT_OUT = 300, 20, 20


def train(weights: Tensor, inputs: Tensor, labels: Tensor, count: int) -> Tensor:
    """The minimum of sum of losses / count + decay / 2 |w|^2, by Newton's steps to rounding."""
    size = weights.numel()
    for _ in range(50):
        outputs = inputs @ weights.T
        p = outputs.softmax(dim=1)
        targets = nn.functional.one_hot(labels, CLASSES).double()
        gradient = (p - targets).T @ inputs / count + WEIGHT_DECAY * weights
        if gradient.norm() < 1e-12:
            return weights
        curved = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        hessian = torch.einsum("nkl,ni,nj->kilj", curved, inputs, inputs).reshape(size, size)
        damped = hessian / count + WEIGHT_DECAY * torch.eye(size).double()
        weights = weights - torch.linalg.solve(damped, gradient.flatten()).reshape(weights.shape)
    raise AssertionError("Newton's method doesn't converge")


def test_exact_influence_is_the_change_when_an_example_is_left_out() -> None:
    images, labels = map(torch.as_tensor, load_digits(return_X_y=True))
    images = torch.cat([images.double() / 16, torch.ones(len(images), 1).double()], dim=1)
    inputs, targets = images[:N], labels[:N]
    asked, answers = images[N : N + Q], labels[N : N + Q]
    weights = train(torch.zeros(CLASSES, 65).double(), inputs, targets, N)
    model = nn.Linear(65, CLASSES, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(weights)
    estimator = InfluenceFunction(
        model,
        TensorDataset(inputs, targets),
        nn.CrossEntropyLoss(reduction="none"),
        curvature=Exact("hessian", damping=WEIGHT_DECAY),
    )
    scores = estimator.influence(asked, answers)
    before = cross_entropy(asked @ weights.T, answers, reduction="none")
    places = range(0, N, N // LEFT_OUT)
    rises = []
    for n in places:
        kept = torch.arange(N) != n
        again = train(weights, inputs[kept], targets[kept], N)
        rises.append(cross_entropy(asked @ again.T, answers, reduction="none") - before)
    rise, predicted = torch.stack(rises, dim=1), scores[:, list(places)] / N
    together = torch.corrcoef(torch.stack([rise.flatten(), predicted.flatten()]))[0, 1]
    assert together >= 0.99
    slope = float((rise * predicted).sum() / predicted.square().sum())
    assert 0.9 < slope < 1.3
