"""Gradients by the oracle, and the matrices of projections, for the tests of all methods."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headwater.forms import Gradients, Materialised, Projected
from headwater.forms.projected import PROJECTED
from tests.estimators.small import (
    QUERIES,
    TRAINING,
    cross_entropy,
    dataset,
    loss_of_one,
    model,
    singles,
    states,
)
from tests.oracles import tracin

OPTIONS: dict[str, Any] = {"loss_fn": cross_entropy, "batch_size": 3}


def make(kind: Callable[..., Any], **options: Any) -> Any:
    """An estimator of the small model, over two checkpoints, in batches of three."""
    arguments = {"checkpoints": states(), **OPTIONS, **options}
    checkpoints = arguments.pop("checkpoints")
    data = arguments.pop("data", None)
    return kind(model(), dataset() if data is None else data, checkpoints, **arguments)


def names() -> list[str]:
    return tracin.trainable_names(model())


def shapes(module: nn.Module | None = None) -> dict[str, torch.Size]:
    module = model() if module is None else module
    return {name: p.shape for name, p in module.named_parameters() if p.requires_grad}


def rows(
    loss: tracin.Loss = loss_of_one, states: list[dict[str, Tensor]] | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """By checkpoint, the gradients of the queries and of the training examples."""
    module, found = model(), ([], [])
    for state in globals()["states"]() if states is None else states:
        module.load_state_dict(state)
        for part, examples in zip(found, (QUERIES, TRAINING), strict=True):
            part.append(tracin.per_example_gradients(module, loss, singles(*examples), names()))
    return found


def matrix_of(form: Projected, checkpoint: int, of: dict[str, torch.Size] | None = None) -> Tensor:
    """The matrix `[D, P]` that the form multiplies whole gradients by, at a checkpoint."""
    parameters = shapes() if of is None else of
    projection = form.projection(parameters)
    columns = []
    for name, shape in parameters.items():
        unit = Materialised(torch.eye(shape.numel(), dtype=torch.float64))
        gradients = Gradients({(name,): unit}, shape.numel(), torch.empty(0, dtype=torch.float64))
        columns.append(projection(gradients, checkpoint).forms[PROJECTED].materialise())
    return torch.cat(columns).T


def assert_close(got: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * scale)


@contextmanager
def random_numbers_left_alone() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)
