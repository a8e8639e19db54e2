"""One call of one layer, as a rule sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from headwater.capture.precision import multiplies_faster

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from headwater.forms.shared_inputs import SharedInputs


class NotPerExample(Exception):
    """A rule's answer to a call whose gradients it can't credit to single examples.

    Raising it sends the layer's parameters through the fallback, which needs no rule.
    """


@dataclass(frozen=True)
class LayerCall:
    """What went into a layer and the gradient at what came out, for a batch.

    Attributes:
        module: the layer.
        args: its positional arguments.
        kwargs: its keyword arguments.
        output_grads: for each tensor in its output, in order, the gradient of the sum of the
            batch's losses; None where the losses don't depend on that tensor.
        batch_size: the number of examples B in the batch.
        wanted: which of the module's own parameters are asked for.
        shared: what other checkpoints have made of the batch's inputs.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output_grads: tuple[Tensor | None, ...]
    batch_size: int
    wanted: frozenset[str]
    shared: SharedInputs | None = None

    @property
    def input(self) -> Tensor:
        """The first argument, in the precision in which products accumulate."""
        tensor: Tensor = self.args[0] if self.args else next(iter(self.kwargs.values()))
        return self._precise(tensor, tensor) if tensor.is_floating_point() else tensor

    @property
    def output_grad(self) -> Tensor:
        """The gradient at the layer's one output, in the precision of `input`."""
        (grad,) = self.output_grads
        if grad is None:
            raise NotPerExample("the losses don't depend on the output")
        tensor = self.args[0] if self.args else next(iter(self.kwargs.values()))
        return self._precise(grad, tensor if tensor.is_floating_point() else grad)

    @property
    def is_reduced(self) -> bool:
        """Whether the layer computes in a precision that the device multiplies in faster."""
        grads = [grad for grad in self.output_grads if grad is not None]
        return len(grads) == 1 and multiplies_faster(grads[0].dtype, grads[0].device)

    @property
    def has_positions(self) -> bool:
        """Whether the gradient at the output has more rows than there are examples."""
        (grad,) = self.output_grads
        return grad is not None and grad.numel() > self.batch_size * grad.shape[-1]

    @property
    def reduced(self) -> tuple[Tensor, Tensor]:
        """The first argument and the gradient at the output, as the layer multiplies them."""
        (grad,) = self.output_grads
        assert grad is not None, "that is_reduced has been asked"
        tensor: Tensor = self.args[0] if self.args else next(iter(self.kwargs.values()))
        return tensor.to(grad.dtype), grad

    def _precise(self, tensor: Tensor, like: Tensor) -> Tensor:
        # Half precision has too few bits to add up products; autocast mixes precisions.
        grads = [grad.dtype for grad in self.output_grads if grad is not None]
        if tensor.dtype == like.dtype == torch.float32 and grads[:1] in ([], [torch.float32]):
            return tensor
        dtype = torch.promote_types(like.dtype, torch.float32)
        dtype = torch.promote_types(dtype, grads[0]) if grads else dtype
        return tensor.to(dtype) if self.shared is None else self.shared.to(tensor, dtype)

    def by_example(self, tensor: Tensor, *, trailing: int) -> Float[Tensor, "B S ..."]:
        """The tensor with its axes before the last `trailing` ones folded into B examples x S.

        A first axis of B * S is taken as S positions of each example in turn; the completeness
        check notices a model that lays them out in another order.

        Raises:
            NotPerExample: the first axis is no multiple of the batch size.
        """
        shape = tensor.shape
        leading = len(shape) - trailing
        if leading < 1 or shape[0] % self.batch_size:
            raise NotPerExample(
                f"shape {tuple(shape)} does not start with the batch's {self.batch_size}"
            )
        if leading == 1 and shape[0] == self.batch_size:
            return tensor[:, None]
        return tensor.reshape(self.batch_size, -1, *shape[leading:])
