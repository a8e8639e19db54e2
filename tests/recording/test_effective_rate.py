"""The effective rate against PyTorch's own SGD, which is given one gradient and then none."""

import itertools

import pytest
import torch

from headwater.checkpoints.recording.rates import effective_rate


@pytest.mark.parametrize(
    ("momentum", "dampening", "nesterov"),
    [
        *itertools.product([0.0, 0.5, 0.9], [0.0, 0.3], [False]),
        *itertools.product([0.5, 0.9], [0.0], [True]),
    ],
)
def test_it_is_how_far_a_gradient_moves_the_weights_in_all(momentum, dampening, nesterov):
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD(
        [weight], lr=0.07, momentum=momentum, dampening=dampening, nesterov=nesterov
    )
    # The first gradient of all is not dampened by PyTorch: a step before begins with none.
    for gradient in [0.0, 2.0, *[0.0] * 500]:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    settings = optimizer.param_groups[0]
    assert effective_rate("SGD", settings, "it") == pytest.approx(-weight.item() / 2.0, rel=1e-12)
    assert momentum == 0 or effective_rate("SGD", settings, "it") != 0.07
