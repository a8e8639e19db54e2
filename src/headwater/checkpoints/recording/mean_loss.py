"""The mean of the losses that were noted, without waiting for the device that has them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from headwater.checkpoints.rates import is_number
from headwater.errors import InputError


class MeanLoss:
    """Sums losses up where they are; a number is asked for only when the mean is.

    Attributes:
        count: how many losses were added since the start, or since `take`.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum: float | Tensor = 0.0

    def add(self, loss: object) -> None:
        """One more loss.

        Raises:
            InputError: it is no number.
        """
        if isinstance(loss, Tensor) and loss.numel() == 1:
            # Not `item()`, which would wait for the device at every step. MPS has no float64.
            dtype = torch.float32 if loss.device.type == "mps" else torch.float64
            self._sum = self._sum + loss.detach().reshape(()).to(dtype)
        elif isinstance(loss, Tensor):
            raise InputError(
                f"loss is a tensor of shape {tuple(loss.shape)}; expected the one number that was "
                f"minimised: loss.mean()"
            )
        elif is_number(loss):
            self._sum = self._sum + float(cast("float", loss))
        else:
            raise InputError(f"loss is a {type(loss).__name__}; expected a number")
        self.count += 1

    def take(self) -> float | None:
        """The mean, after which everything begins anew; None where no loss was added."""
        mean = float(self._sum) / self.count if self.count else None
        self.count, self._sum = 0, 0.0
        return mean
