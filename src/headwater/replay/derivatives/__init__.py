"""How the next weights depend on the present ones, the gradient, and the optimizer's moments."""

from __future__ import annotations

from headwater.errors import NotReplayableError
from headwater.replay.derivatives.adam import Adam
from headwater.replay.derivatives.coefficients import Coefficients, coefficients
from headwater.replay.derivatives.sgd import Sgd
from headwater.replay.derivatives.update import UpdateRule

__all__ = ["Coefficients", "UpdateRule", "coefficients", "rule_of"]

_RULES: dict[str, UpdateRule] = {"SGD": Sgd(), "Adam": Adam(), "AdamW": Adam(decoupled=True)}


def rule_of(optimizer: str) -> UpdateRule:
    """The rule of an optimizer, by the name of its class.

    Raises:
        NotReplayableError: there is none.
    """
    if optimizer not in _RULES:
        raise NotReplayableError(
            f"the run was trained by {optimizer}, whose update can't be differentiated here; "
            f"expected one of torch.optim's {', '.join(_RULES)}"
        )
    return _RULES[optimizer]
