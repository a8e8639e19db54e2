"""What a number of a result means: its formula, unit and sign, and which estimator gave it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORMULAS = {
    "influence": (
        "influence(q, n) = sum over checkpoints of learning rate * <gradient of q, gradient of n>"
    ),
    "self_influence": (
        "self_influence(n) = sum over checkpoints of learning rate * ||gradient of n||^2"
    ),
}


@dataclass(frozen=True)
class Meaning:
    """The words that belong to a table of scores.

    Args:
        quantity: which of the two it is.
        measured: what is differentiated for a query: "loss" or "output".
        estimator: what the scores were computed by, and of what, by name of the fact.
        steps: what was done to the scores since, such as adding them up.
    """

    quantity: Literal["influence", "self_influence"]
    measured: Literal["loss", "output"]
    estimator: Mapping[str, Any]
    steps: tuple[str, ...] = field(default=())

    @property
    def formula(self) -> str:
        """The sum that a score is."""
        return _FORMULAS[self.quantity]

    @property
    def unit(self) -> str:
        """What one is, in the terms of the loss."""
        if self.quantity == "self_influence":
            return (
                "that of the loss: by how much a training example's own loss falls, to first "
                "order, if each checkpoint takes one step of plain SGD on it alone"
            )
        return (
            f"that of the query's {self.measured}: by how much it falls, to first order, if each "
            f"checkpoint takes one step of plain SGD on the training example alone"
        )

    @property
    def sign(self) -> str:
        """What positive and negative say."""
        if self.quantity == "self_influence":
            return (
                "never negative; high where only the example's own gradient could teach it: a "
                "wrong label, an outlier, a rare case"
            )
        return (
            f"positive: a proponent, training on it lowers the query's {self.measured}; "
            f"negative: an opponent, training on it raises it"
        )

    def after(self, step: str) -> Meaning:
        """The same, with one more thing done to the scores."""
        return replace(self, steps=(*self.steps, step))

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "quantity": self.quantity,
            "formula": self.formula,
            "unit": self.unit,
            "sign": self.sign,
            "steps": list(self.steps),
            "estimator": dict(self.estimator),
        }
