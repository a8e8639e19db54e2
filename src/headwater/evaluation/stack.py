"""Many models of one architecture in a stack: each parameter is one tensor with an axis of models.

One forward and backward pass then trains all of them. A model's loss depends on its own weights
only, so the gradient of the sum of losses is every model's own gradient.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from headwater.evaluation.in_memory import taken
from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from headwater.evaluation.objective import Objective
    from headwater.evaluation.recipe import Recipe
    from headwater.evaluation.retraining import States

# How far a stack's gradient may be from a model's own, relative to its largest entry.
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-3}
_WITH_BATCH_STATISTICS = (nn.modules.batchnorm._BatchNorm,)
_RANDOM = (
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
)


def why_not(model: nn.Module) -> str | None:
    """Why a model can't be in a stack, as far as its layers tell; None for no reason.

    Random numbers in a forward pass would be drawn in another order than by one model alone, and
    running statistics are written in place.
    """
    for name, module in model.named_modules():
        kind = f"{type(module).__name__} ({name or 'the model itself'})"
        if isinstance(module, _RANDOM) and vars(module).get("p", 1.0):
            return f"{kind} draws random numbers"
        if isinstance(module, nn.MultiheadAttention) and module.dropout:
            return f"{kind} has dropout"
        if isinstance(module, _WITH_BATCH_STATISTICS):
            return f"{kind} keeps statistics of batches"
        if isinstance(module, nn.RNNBase):
            return f"{kind} has no vectorised form"
    return None


class _Weighted(nn.Module):
    """A model with its objective: from a batch to the weighted sum of its losses."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._objective = objective

    def forward(self, batch: Any, weights: Tensor) -> Tensor:
        losses = self._objective.losses(self.model, batch)
        return (losses * weights.to(losses)).sum()


class Stack:
    """Models being trained together.

    Args:
        models: of one architecture, in train mode, with their initial weights. The first one lends
            its layers; its weights aren't touched.
        objective: the loss.
        whole: all training examples as one batch of tensors.
        recipe: what gives the optimizer.
    """

    def __init__(
        self, models: Sequence[nn.Module], objective: Objective, whole: Any, recipe: Recipe
    ) -> None:
        self._weighted = _Weighted(models[0], objective)
        self._whole = whole
        self._recipe = recipe
        self.size = len(models)
        self._learned: States = {}
        self._fixed: States = {}
        # Of a tied parameter one name remains here; functional_call ties the others to it.
        for name, parameter in models[0].named_parameters():
            each = [dict(model.named_parameters())[name].detach() for model in models]
            tensor = torch.stack(each)
            kept = self._learned if parameter.requires_grad else self._fixed
            kept[f"model.{name}"] = tensor.requires_grad_(parameter.requires_grad)
        for name, _ in models[0].named_buffers():
            each = [dict(model.named_buffers())[name].detach() for model in models]
            self._fixed[f"model.{name}"] = torch.stack(each)
        self._optimizer = recipe.optimizer_of(self._learned.values())
        self._losses = torch.func.vmap(self._one, in_dims=0, randomness="error")

    def step(self, places: Int[Tensor, "M B"], weights: Float[Tensor, "M B"], rate: float) -> None:
        """One update of every model, each by its own batch."""
        self._optimizer.zero_grad()
        self._summed(places, weights).backward()
        if self._recipe.clip_norm is not None:
            self._clip(self._recipe.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()

    def disagrees(self, places: Int[Tensor, "M B"], weights: Float[Tensor, "M B"]) -> bool:
        """Whether the gradient of the last model isn't what it is alone."""
        together = torch.autograd.grad(
            self._summed(places, weights), list(self._learned.values()), allow_unused=True
        )
        last = self.size - 1
        own = {name: t[last].detach().requires_grad_() for name, t in self._learned.items()}
        fixed = {name: tensor[last] for name, tensor in self._fixed.items()}
        batch = taken(self._whole, places[last])
        loss = functional_call(self._weighted, {**own, **fixed}, (batch, weights[last]))
        alone = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
        for one, other in zip(together, alone, strict=True):
            if (one is None) != (other is None):
                return True
            if one is not None and other is not None:
                bound = _TOLERANCE.get(other.dtype, 1e-2) * other.abs().max().clamp(min=1e-30)
                # Written so that NaN on one side is a disagreement.
                if not bool(((one[last] - other).abs() <= bound).all()):
                    return True
        return False

    def states(self, like: Sequence[str]) -> States:
        """The models' weights and buffers.

        Args:
            like: the names of a state dict, among them second names of tied parameters.
        """
        found = {
            name.removeprefix("model."): tensor.detach()
            for name, tensor in {**self._learned, **self._fixed}.items()
        }
        model = self._weighted.model
        by_tensor = {id(p): name for name, p in model.named_parameters()}
        every = dict(model.named_parameters(remove_duplicate=False))
        for name in like:
            if name not in found:
                found[name] = found[by_tensor[id(every[name])]]
        return {name: found[name] for name in like}

    def _one(self, learned: States, fixed: States, batch: Any, weights: Tensor) -> Tensor:
        loss: Tensor = functional_call(self._weighted, {**learned, **fixed}, (batch, weights))
        return loss

    def _summed(self, places: Tensor, weights: Tensor) -> Tensor:
        with vectorised():
            losses: Tensor = self._losses(
                self._learned, self._fixed, taken(self._whole, places), weights
            )
        return losses.sum()

    def _clip(self, largest: float) -> None:
        """Each model's gradient to a norm of at most this, as clip_grad_norm_ does for one."""
        grads = [t.grad for t in self._learned.values() if t.grad is not None]
        norms = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)
        factors = (largest / (norms + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factors.view(-1, *(1 for _ in grad.shape[1:])))


@contextlib.contextmanager
def vectorised() -> Iterator[None]:
    """Within, attention is computed by operators that vmap knows."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def all_tensors(whole: Any) -> bool:
    """Whether a batch of all examples can be cut into the batches of a stack."""
    known = pytree.tree_leaves(whole)
    return len(known) == len(list(leaves(whole))) and all(
        isinstance(leaf, torch.Tensor) for leaf in known
    )


def weights_of(present: Bool[Tensor, "M N"], places: Int[Tensor, "M B"]) -> Float[Tensor, "M B"]:
    """What each loss of each batch counts: a mean over the batch, of which some are removed."""
    return present.gather(1, places).double() / places.shape[1]
