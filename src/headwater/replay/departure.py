"""Holding a run that is taken again against the weights that were recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from headwater.errors import DepartureError

if TYPE_CHECKING:
    from torch import Tensor


# What rounding may grow to over a run; beyond, something else differs.
_MAY_BE_ROUNDING = 1e-4


class Comparison:
    """Compares weights with recorded ones, wherever there are some.

    Args:
        recorded: by number of updates taken before, what gives the weights then, by name.
        tolerance: the greatest difference allowed, as a share of the largest weight of its
            parameter; 0 asks for the same bits.
        versions: of the libraries that recorded them, for messages.

    Attributes:
        largest: the greatest difference found, as such a share.
        compared: at how many places weights were compared.
    """

    def __init__(
        self,
        recorded: Mapping[int, Callable[[], Mapping[str, Tensor]]],
        tolerance: float,
        versions: Mapping[str, str],
    ) -> None:
        self._recorded = recorded
        self._tolerance = tolerance
        self._versions = versions
        self._agreed: int | None = None
        self.largest = 0.0
        self.compared = 0

    def compare(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Compares the weights before update number `step`, if they were recorded.

        Raises:
            DepartureError: they are others.
        """
        if step not in self._recorded:
            return
        expected = self._recorded[step]()
        shares = {name: _share(weight, expected[name]) for name, weight in weights.items()}
        worst = max(shares, key=lambda name: shares[name], default=None)
        self.compared += 1
        if worst is not None:
            self.largest = max(self.largest, shares[worst])
            if not shares[worst] <= self._tolerance:
                raise self._departed(step, worst, shares[worst])
        self._agreed = step

    def _departed(self, step: int, name: str, share: float) -> DepartureError:
        until = "" if self._agreed is None else f", and agreed before update {self._agreed}"
        version = self._versions.get("torch")
        others = "" if version in (None, torch.__version__) else _another_version(version)
        rounding = (
            f" If it is rounding alone, allow it: tolerance={_next_power(share):g}."
            if share <= _MAY_BE_ROUNDING
            else ""
        )
        return DepartureError(
            f"taken again, the run comes to other weights before update {step} than were recorded: "
            f"{name!r} differs by {share:.1e} of its largest weight{until}. Something here isn't "
            f"as it was in training; look for it in: {others}the model (its architecture, its "
            f"buffers); the dataset (its order, random augmentation); the loss (as training called "
            f"it); gradients that were clipped (say it: max_grad_norm=) or added up; mixed "
            f"precision; the device and the number of threads; batch(), which has to stand right "
            f"before the forward pass.{rounding}"
        )


def _another_version(recorded: str | None) -> str:
    return f"PyTorch ({recorded} in training, {torch.__version__} here); "


def _share(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.detach(), expected.to(found)
    if torch.equal(found, expected):
        return 0.0
    scale = float(expected.abs().max())
    share = float((found - expected).abs().max()) / scale if scale else float("inf")
    return share if share == share else float("inf")


def _next_power(share: float) -> float:
    power = 1e-12
    while power < share:
        power *= 10
    return power
