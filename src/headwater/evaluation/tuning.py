"""Choosing among settings of a method, on a bank that isn't the reported one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.errors import InputError
from headwater.evaluation.lds import linear_datamodeling_score
from headwater.evaluation.scores_given import TRANSPOSE, scores_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headwater.evaluation.bank import RetrainedBank


def best_on_tuning_bank(
    candidates: Mapping[str, Any], bank: RetrainedBank, *, quantity: str = "loss"
) -> tuple[str, dict[str, float]]:
    """The candidate with the highest LDS, and every candidate's.

    Args:
        candidates: by name, scores of the bank's queries.
        bank: of `Subsets(purpose="tuning")`, best with queries of its own.
        quantity: "loss", or "margin".

    Raises:
        InputError: there is no candidate, or the bank is one to report on.
    """
    if bank.subsets.purpose != "tuning":
        raise InputError(
            f"the bank at {bank.path} is one to report on, and what is chosen on it is too good "
            f"there; choose on a bank of Subsets(purpose='tuning')"
        )
    if not candidates:
        raise InputError("there are no candidates to choose among")
    found = {
        name: linear_datamodeling_score(
            scores_matrix(scores, queries=bank.queries, examples=bank.count, swapped=TRANSPOSE),
            bank,
            quantity=quantity,
        ).value
        for name, scores in candidates.items()
    }
    return max(found, key=lambda name: found[name]), found


def refuse_tuning_bank(bank: RetrainedBank) -> None:
    """Raises an error where a bank is about to be reported on that was for choosing.

    Raises:
        InputError: it was.
    """
    if bank.subsets.purpose != "report":
        raise InputError(
            f"the bank at {bank.path} is for tuning; a report needs one of "
            f"Subsets(purpose='report')"
        )
