"""Wrong labels: making some, and how well a ranking finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.errors import InputError, NonFiniteError
from headwater.evaluation.marks import marks
from headwater.evaluation.ranks import Ranked, descending

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

Kind = Literal["uniform", "runner-up"]


@dataclass(frozen=True)
class FlippedLabels:
    """Labels of which some are wrong.

    Attributes:
        labels: the labels, (N,).
        flipped: which are wrong, (N,).
    """

    labels: Int[Tensor, " N"]
    flipped: Bool[Tensor, " N"]


def flip_labels(
    labels: Int[Tensor, " N"],
    *,
    share: float = 0.1,
    kind: Kind = "uniform",
    seed: int = 0,
    classes: int | None = None,
    probabilities: Float[Tensor, "N K"] | None = None,
) -> FlippedLabels:
    """Some of the labels made wrong.

    Args:
        labels: from 0.
        share: of the labels that are to be wrong.
        kind: "uniform", to any other class alike; or "runner-up", to the class that a model takes
            for the likeliest other one, which is harder to find.
        seed: of which labels, and of the classes.
        classes: K; None for one more than the highest label.
        probabilities: a model's, that "runner-up" needs: best of one that didn't see these labels.

    Raises:
        InputError: the labels aren't whole numbers from 0, or a number is out of its range.
    """
    if labels.dim() != 1 or labels.dtype != torch.int64 or (len(labels) and labels.min() < 0):
        raise InputError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected int64 from 0, (N,)"
        )
    number = round(share * len(labels))
    if not 0 < number < len(labels):
        raise InputError(
            f"a share of {share} of {len(labels)} labels is {number}; expected some, and not all"
        )
    known = int(labels.max()) + 1 if classes is None else classes
    if known < 2 or known <= int(labels.max()):
        raise InputError(f"there are {known} classes; expected at least 2, and as many as labels")
    generator = torch.Generator().manual_seed(seed)
    places = torch.randperm(len(labels), generator=generator)[:number]
    if kind == "uniform":
        other = torch.randint(known - 1, (number,), generator=generator)
        # Skips the right class: every other one is as likely.
        other = other + (other >= labels[places]).long()
    elif kind == "runner-up":
        if probabilities is None or probabilities.shape != (len(labels), known):
            raise InputError(
                f"kind='runner-up' needs probabilities of shape ({len(labels)}, {known})"
            )
        right = labels[places][:, None]
        other = probabilities[places].clone().scatter_(1, right, -torch.inf).argmax(dim=1)
    else:
        raise InputError(f"kind is {kind!r}; expected 'uniform' or 'runner-up'")
    changed, flipped = labels.clone(), torch.zeros(len(labels), dtype=torch.bool)
    changed[places], flipped[places] = other, True
    return FlippedLabels(changed, flipped)


@dataclass(frozen=True)
class Detection:
    """How well a ranking finds what is wrong.

    Attributes:
        auroc: the chance that a wrong label ranks above a right one; 0.5 is a coin's.
        average_precision: the mean over the wrong labels of the share of wrong ones among all that
            rank as high or higher; a coin's is the share of wrong labels.
        found_at_10: the share of the wrong labels among the first 10 % of the ranking.
        found_at_20: the same, of 20 %.
    """

    auroc: float
    average_precision: float
    found_at_10: float
    found_at_20: float


def detection(suspicion: Any, wrong: Any) -> Detection:
    """How well a suspicion, such as self-influence, finds what is wrong.

    Args:
        suspicion: one number per training example, highest for the most suspicious. Equal ones
            count as half right in `auroc`, and elsewhere in the order of the data.
        wrong: which are, True or False for each, as an array or a list.

    Raises:
        InputError: the lengths differ, or nothing is wrong, or all.
        NonFiniteError: a number is NaN or infinite.
    """
    wrong = marks(wrong, "wrong", shape="(N,)")
    try:
        values = torch.as_tensor(suspicion).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"suspicion is a {type(suspicion).__name__} ({error}); expected one number per "
            f"training example"
        ) from error
    if values.shape != wrong.shape or values.dim() != 1:
        raise InputError(
            f"suspicion has shape {tuple(values.shape)} and wrong {tuple(wrong.shape)}; expected "
            f"one number per training example"
        )
    if not bool(values.isfinite().all()):
        place = int(values.isfinite().logical_not().nonzero()[0])
        raise NonFiniteError(f"the suspicion of training example {place} is NaN or infinite")
    number, count = int(wrong.sum()), len(wrong)
    if not 0 < number < count:
        raise InputError(f"{number} of {count} labels are wrong; expected some, and not all")
    ranks = Ranked(values[None]).ranks(torch.ones(count, dtype=torch.float64))[0]
    above = ranks[wrong].sum() - number * (number + 1) / 2
    hits = wrong[descending(values)].double()
    found = hits.cumsum(dim=0)
    precision = found / torch.arange(1, count + 1)
    return Detection(
        auroc=float(above / (number * (count - number))),
        average_precision=float((precision * hits).sum() / number),
        found_at_10=float(found[max(0, round(0.1 * count) - 1)] / number),
        found_at_20=float(found[max(0, round(0.2 * count) - 1)] / number),
    )
