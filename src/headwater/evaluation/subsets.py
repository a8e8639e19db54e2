"""Random subsets of the training examples, on which a bank's models are trained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.errors import InputError
from headwater.evaluation.run import Run

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

Purpose = Literal["report", "tuning"]


@dataclass(frozen=True)
class Subsets:
    """M random subsets of the training examples, each trained on by `runs` models.

    Attributes:
        count: M, how many subsets.
        fraction: the share of the training examples in each, between 0 and 1.
        runs: models per subset, each with a seed of its own. Two or more say how much of what is
            measured is noise of the seed, which sets the ceiling of every score.
        seed: of the subsets and of all seeds.
        purpose: what the bank is for. "tuning" draws other subsets and seeds than "report" from the
            same `seed`, and each is refused where the other is asked for.

    Raises:
        InputError: a number is out of its range.
    """

    count: int = 100
    fraction: float = 0.5
    runs: int = 2
    seed: int = 0
    purpose: Purpose = "report"

    def __post_init__(self) -> None:
        if self.count < 3:
            raise InputError(f"count is {self.count}; a rank correlation needs at least 3 subsets")
        if not 0 < self.fraction < 1:
            raise InputError(f"fraction is {self.fraction}; expected more than 0 and less than 1")
        if self.runs < 1:
            raise InputError(f"runs is {self.runs}; expected at least 1 model per subset")
        if self.purpose not in ("report", "tuning"):
            raise InputError(f"purpose is {self.purpose!r}; expected 'report' or 'tuning'")

    def members(self, training: int) -> Int[Tensor, "M m"]:
        """The places of each subset's examples, in their order.

        Args:
            training: N, how many training examples there are.

        Raises:
            InputError: a subset would have no example, or all.
        """
        size = round(self.fraction * training)
        if not 0 < size < training:
            raise InputError(
                f"a share of {self.fraction} of {training} training examples is {size} of them; "
                f"subsets have to differ"
            )
        generator = torch.Generator().manual_seed(self._number("subsets"))
        drawn = [torch.randperm(training, generator=generator)[:size] for _ in range(self.count)]
        return torch.stack(drawn).sort(dim=1).values

    def plan(self, training: int) -> list[Run]:
        """All runs: the first of every subset, then the second of every subset, ..."""
        members = self.members(training)
        return [
            Run(members[subset], self._number(f"run {run} on {subset}"))
            for run in range(self.runs)
            for subset in range(self.count)
        ]

    def facts(self) -> dict[str, Any]:
        """What a bank says of them."""
        return dict(vars(self))

    def _number(self, use: str) -> int:
        # Hashed, so that no two uses share a stream, whatever the seeds.
        digest = hashlib.sha256(f"{self.seed} {self.purpose} {use}".encode()).digest()
        return int.from_bytes(digest[:6], "little")
