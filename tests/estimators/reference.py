"""What the oracle says about each architecture of the table, computed once a session."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from tests.architectures.architecture import RATES
from tests.architectures.zoo import BY_NAME
from tests.oracles import tracin


@dataclass(frozen=True)
class Reference:
    scores: Tensor  # [Q, N]
    self_influence: Tensor  # [N]


@cache
def reference(name: str) -> Reference:
    architecture = BY_NAME[name]
    model = architecture.model()
    names = tracin.trainable_names(model)
    checkpoints = list(zip(architecture.states(), RATES, strict=True))
    training = architecture.examples(*architecture.training())
    queries = architecture.examples(*architecture.query())
    loss = architecture.loss_of_one
    return Reference(
        tracin.influence_scores(model, checkpoints, loss, training, queries, names),
        tracin.self_influence(model, checkpoints, loss, training, names),
    )


def assert_scores_close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    """Within `tolerance`, relative to each score and to the largest one."""
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(
        got.double(), expected, rtol=tolerance, atol=tolerance * scale, check_device=False
    )


def assert_top_k_close(
    got: tuple[Tensor, Tensor], scores: Tensor, k: int, proponents: bool, tolerance: float
) -> None:
    """The k best of `scores`, where two scores within `tolerance` may change places."""
    indices, values = got
    assert indices.dtype == torch.int64
    expected_indices, expected_values = tracin.top_k(scores, k, proponents)
    assert indices.shape == values.shape == expected_indices.shape
    assert_scores_close(values, expected_values, tolerance)
    scale = float(scores.abs().max())
    # What stands under an index is that index's own score, ties or not.
    torch.testing.assert_close(
        scores.gather(1, indices), expected_values, rtol=tolerance, atol=2 * tolerance * scale
    )
    for q in range(len(scores)):
        assert indices[q].unique().numel() == indices.shape[1], "an example is named twice"
        ordered = scores[q].sort().values
        if (ordered.diff() > 4 * tolerance * scale).all():
            assert indices[q].tolist() == expected_indices[q].tolist()
