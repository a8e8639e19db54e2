"""What other examples say of an example's label: its neighbours, and a probe fitted to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from headwater.cleaning.features import side_by_side
from headwater.cleaning.neighbours import conflicting_twins, nearest
from headwater.cleaning.probe import left_out_probe
from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Bool, Float, Int

    from headwater.cleaning.neighbours import Neighbours
    from headwater.cleaning.observed import Observed

Features: TypeAlias = Literal["auto", "penultimate", "inputs"]

# Inputs know nothing of labels, where what a trained layer puts out has learnt them; but pixels or
# the like may not tell classes apart at all.
_ABOUT_AS_GOOD = 0.9
_TWIN = 0.995
# Of equal votes, the one against which the runner-up is stronger counts as more suspect.
_TIE = 1e-3


@dataclass(frozen=True)
class Opinions:
    """Votes on every example's label that its own label has no part in.

    Attributes:
        votes: by signal, the classes' shares, (N, K).
        twins: see `conflicting_twins`.
        notes: what could not be had, and what was chosen.
    """

    votes: dict[str, Float[Tensor, "N K"]]
    twins: Int[Tensor, " N"]
    notes: tuple[str, ...]

    @property
    def mean(self) -> Float[Tensor, "N K"] | None:
        """The mean of the votes; None without any."""
        return torch.stack(list(self.votes.values())).mean(dim=0) if self.votes else None


def against(votes: Float[Tensor, "N K"], labels: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """How far votes are against the given label: 1 less its share, ties told apart by the rest."""
    own = votes.gather(1, labels[:, None])[:, 0]
    other = votes.scatter(1, labels[:, None], -1).amax(dim=1)
    return 1 - own + _TIE * (other - own)


def disputed(
    predicted: Int[Tensor, "C N"],
    votes: Iterable[Float[Tensor, "N K"]],
    labels: Int[Tensor, " N"],
) -> Bool[Tensor, " N"]:
    """Whether the model at most checkpoints, and all votes, name one and the same other label."""
    named = predicted.mode(dim=0).values
    agreed = named != labels
    for one in votes:
        agreed &= one.argmax(dim=1) == named
    return agreed


def opinions(seen: Observed, features: Features | Tensor | None, neighbours: int) -> Opinions:
    """The opinions of neighbours and probe.

    Args:
        seen: what the model said, with features.
        features: what neighbours are near in; see `find_suspects`.
        neighbours: how many of them vote.

    Raises:
        InputError: `features` or `neighbours` can't be meant, or what is asked for isn't there.
    """
    if not isinstance(neighbours, int) or isinstance(neighbours, bool) or neighbours < 1:
        raise InputError(f"neighbours is {neighbours!r}; expected a positive int")
    count, classes = len(seen.labels), seen.probabilities.shape[1]
    nobody = torch.full((count,), -1)
    if features is None:
        return Opinions({}, nobody, ("neighbours and probe were left out: features=None",))
    penultimate = side_by_side(seen.features) if seen.features else None
    near, note = _near(seen, features, penultimate, neighbours)
    if near is None:
        return Opinions({}, nobody, (note,))
    votes = {"neighbours": near.votes(seen.labels, classes)}
    read = features.float().cpu() if isinstance(features, Tensor) else seen.inputs
    probed = penultimate if penultimate is not None else side_by_side([read])  # type: ignore[list-item]
    votes["probe"] = left_out_probe(probed, seen.labels, classes)
    return Opinions(votes, conflicting_twins(near, seen.labels, at_least=_TWIN), (note,))


def _near(
    seen: Observed, features: Features | Tensor, penultimate: Tensor | None, k: int
) -> tuple[Neighbours | None, str]:
    """The neighbours in the features that are asked for, and what is to be said of the choice."""
    if isinstance(features, Tensor):
        if features.dim() != 2 or len(features) != len(seen.labels):
            raise InputError(
                f"features is a tensor of shape {tuple(features.shape)}; expected a row per "
                f"training example, ({len(seen.labels)}, D)"
            )
        return nearest(features.detach().float().cpu(), k), "neighbours: in the features given"
    if features not in ("auto", "penultimate", "inputs"):
        raise InputError(
            f"features is {features!r}; expected 'auto', 'penultimate', 'inputs', a tensor with a "
            f"row per training example, or None"
        )
    spaces = {"inputs": seen.inputs, "penultimate": penultimate}
    if features != "auto":
        if spaces[features] is None:
            raise InputError(
                f"features={features!r}, and the model has none: "
                + (
                    "its input isn't one tensor of numbers"
                    if features == "inputs"
                    else "no torch.nn.Linear is called in it"
                )
                + "; pass a tensor with a row per training example, or features=None"
            )
        return nearest(spaces[features], k), f"neighbours: in the {features}, as asked"  # type: ignore[arg-type]
    found = {name: nearest(each, k) for name, each in spaces.items() if each is not None}
    if not found:
        return None, (
            "neighbours and probe were left out: the model's input isn't one tensor of numbers, "
            "and no torch.nn.Linear is called in it; pass features=, a row per training example"
        )
    right = {name: _rightness(near, seen) for name, near in found.items()}
    if len(found) == 1:
        name = next(iter(found))
        return found[name], f"neighbours: in the {name}, the only features there are"
    name = "inputs" if right["inputs"] >= _ABOUT_AS_GOOD * right["penultimate"] else "penultimate"
    return found[name], (
        f"neighbours: in the {name}; they have the example's label in {right['inputs']:.0%} of "
        f"cases by the inputs, and {right['penultimate']:.0%} by what the last layer reads, which "
        f"has learnt the labels"
    )


def _rightness(near: Neighbours, seen: Observed) -> float:
    votes = near.votes(seen.labels, seen.probabilities.shape[1])
    return float((votes.argmax(dim=1) == seen.labels).double().mean())
