"""What a number of a result means: its formula, unit and sign, and which estimator gave it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Wording:
    """What an estimator's numbers are, in words; "{measured}" stands for the loss or the output.

    Attributes:
        formula, unit, sign: of a score with a query.
        own_formula, own_unit, own_sign: of self-influence.
    """

    formula: str
    unit: str
    own_formula: str = ""
    own_unit: str = ""
    sign: str = (
        "positive: a proponent, training on it lowers the query's {measured}; "
        "negative: an opponent, training on it raises it"
    )
    own_sign: str = (
        "never negative; high where only the example's own gradient could teach it: a "
        "wrong label, an outlier, a rare case"
    )


TRACIN = Wording(
    formula=(
        "influence(q, n) = sum over checkpoints of learning rate * <gradient of q, gradient of n>"
    ),
    unit=(
        "that of the query's {measured}: by how much it falls, to first order, if each "
        "checkpoint takes one step of plain SGD on the training example alone"
    ),
    own_formula=("self_influence(n) = sum over checkpoints of learning rate * ||gradient of n||^2"),
    own_unit=(
        "that of the loss: by how much a training example's own loss falls, to first "
        "order, if each checkpoint takes one step of plain SGD on it alone"
    ),
)


@dataclass(frozen=True)
class Meaning:
    """The words that belong to a table of scores.

    Args:
        quantity: which of the two it is.
        measured: what is differentiated for a query: "loss" or "output".
        estimator: what the scores were computed by, and of what, by name of the fact.
        steps: what was done to the scores since, such as adding them up.
        wording: the estimator's.
    """

    quantity: Literal["influence", "self_influence"]
    measured: Literal["loss", "output"]
    estimator: Mapping[str, Any]
    steps: tuple[str, ...] = field(default=())
    wording: Wording = TRACIN

    @property
    def formula(self) -> str:
        """The sum that a score is."""
        return self.wording.own_formula if self._is_own else self._said(self.wording.formula)

    @property
    def unit(self) -> str:
        """What one is, in the terms of the loss."""
        return self.wording.own_unit if self._is_own else self._said(self.wording.unit)

    @property
    def sign(self) -> str:
        """What positive and negative say."""
        return self.wording.own_sign if self._is_own else self._said(self.wording.sign)

    @property
    def _is_own(self) -> bool:
        return self.quantity == "self_influence"

    def _said(self, text: str) -> str:
        return text.replace("{measured}", self.measured)

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
