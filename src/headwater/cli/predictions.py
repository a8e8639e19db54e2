"""What the long commands will take, from runs on a few examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.check import measured_cost
from headwater.check.comparison import parts_of
from headwater.check.layers import stored_pass
from headwater.distributed import sharing_ranks
from headwater.estimators.stored.writing import SHARD_BYTES
from headwater.query import TopK
from headwater.results.names import plural

if TYPE_CHECKING:
    from headwater.check import Cost
    from headwater.estimators import TracInCPBase
    from headwater.estimators.question import Question
    from headwater.estimators.streamed import Streamed

_K = 10
_NUMBER_BYTES = 4


@dataclass(frozen=True)
class Prediction:
    """What a command will take.

    Attributes:
        command: which.
        cost: as measured.
        result: bytes of its result, on top.
    """

    command: str
    cost: Cost
    result: int


def predictions(estimator: TracInCPBase, question: Question, count: int) -> list[Prediction]:
    """Time and memory of the commands that go through all training examples.

    Args:
        estimator: on all training examples.
        question: scores with the queries that were asked for.
        count: how many training examples there are, N.
    """
    parts = parts_of(estimator)
    ranks = sharing_ranks(parts.net)
    # All go through it together, and so as often.
    agreed = None if ranks is None else lambda seconds: ranks.gathered_object(seconds)[0]

    def some(size: int) -> Streamed:
        return parts.with_data(parts.data.subset(range(size)))

    def self_influence(size: int) -> None:
        some(size).self_influence(show_progress=False)

    def influence(size: int) -> None:
        some(size).stream(
            question,
            lambda: TopK(question.rows, k=_K, side="proponents"),
            bounded=True,
            show_progress=False,
        )

    asked = f"{question.size} {plural('query') if question.size != 1 else 'query'}"
    return [
        Prediction(
            "self-influence", measured_cost(self_influence, count, agreed), count * _NUMBER_BYTES
        ),
        Prediction(
            f"influence, {asked}",
            measured_cost(influence, count, agreed),
            question.size * _K * (_NUMBER_BYTES + 8),
        ),
        Prediction(
            "store build",
            measured_cost(lambda size: stored_pass(estimator, size), count, agreed),
            SHARD_BYTES,
        ),
    ]
