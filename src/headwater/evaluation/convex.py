"""Retraining of convex models to the minimum itself, where nothing is left to chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap

from headwater.errors import ConvergenceError, InputError
from headwater.evaluation.retraining import Retraining, States

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.evaluation.run import Run
    from headwater.tasks import Task

# The Hessian is P x P, and is solved with.
_MOST_PARAMETERS = 10_000
_MOST_STEPS = 200
_HALVINGS = 40
# Steps with the Hessian of all data go on as long as each takes the gradient down so far.
_PROGRESS = 0.7
_AT_ONCE = 64
# Rows of the Hessian that are computed at a time, times training examples.
_HESSIAN_NUMBERS = 2**20


class ConvexRetraining(Retraining):
    """Minimises a convex objective to a tolerance, by Newton's method.

        1/m * (sum of the losses of the members that aren't removed) + l2/2 * ||w||^2

    over all parameters, where m counts removed members too. The minimum is unique, so neither seed
    nor initial weights matter, and leaving an example out is exact.

    The minimum over all data is found first. Runs then begin there with its Hessian, all of them at
    once; those that it doesn't fit get Hessians of their own.

    Args:
        l2: the strength of the penalty, more than 0; biases are penalised as well.
        tolerance: the largest entry that the gradient may have at the minimum.
        model: of at most 10,000 parameters in float64, convex in them: a linear model with
            cross-entropy, squared error or the like.
        dataset, loss_fn, task: see `Retraining`.

    Raises:
        InputError: l2 isn't positive, the model isn't in float64 or too large, or the data isn't
            one batch of tensors.
    """

    deterministic = True

    def __init__(
        self,
        model: Callable[[], nn.Module] | nn.Module,
        dataset: Any,
        *,
        l2: float,
        tolerance: float = 1e-10,
        loss_fn: Callable[..., Any] | None = None,
        task: Task | None = None,
    ) -> None:
        super().__init__(model, dataset, loss_fn=loss_fn, task=task)
        self.template.eval()
        self._names = [name for name, _ in self.template.named_parameters()]
        self._shapes = [p.shape for p in self.template.parameters()]
        count = sum(p.numel() for p in self.template.parameters())
        if not l2 > 0 or not tolerance > 0:
            raise InputError(f"l2 is {l2} and tolerance {tolerance}; expected more than 0")
        if count > _MOST_PARAMETERS:
            raise InputError(
                f"the model has {count:,} parameters; a Hessian of at most {_MOST_PARAMETERS:,} is "
                f"solved with. Train it by a Recipe"
            )
        if {p.dtype for p in self.template.parameters()} != {torch.float64}:
            raise InputError(
                "the model isn't in float64, which a minimum to a tolerance needs: return "
                "model.double(), and give the data in float64"
            )
        if self.data.whole is None:
            raise InputError("the dataset's examples don't stack into one batch of tensors")
        if any(True for _ in self.template.buffers()):
            raise InputError("the model has buffers, such as running statistics; expected none")
        self.l2, self.tolerance = l2, tolerance
        self.at_once = _AT_ONCE
        self._from: tuple[Tensor, Tensor] | None = None

    def states(self, runs: Sequence[Run]) -> States:
        weights = torch.stack([run.present(self.count) for run in runs]).double()
        weights = weights / torch.tensor([[len(run.members)] for run in runs])
        flat = torch.cat([self._minima(some) for some in weights.split(_AT_ONCE)])
        pieces = flat.split([shape.numel() for shape in self._shapes], dim=1)
        found = {
            name: piece.reshape(len(runs), *shape)
            for name, piece, shape in zip(self._names, pieces, self._shapes, strict=True)
        }
        # A tied parameter has other names in a state dict.
        by_tensor = {id(p): name for name, p in self.template.named_parameters()}
        every = dict(self.template.named_parameters(remove_duplicate=False))
        return {name: found[by_tensor[id(every[name])]] for name in self.template.state_dict()}

    def facts(self) -> dict[str, Any]:
        training = {"minimum with l2": self.l2, "tolerance": self.tolerance}
        return {
            key: fact for key, fact in self.common_facts().items() if key != "initial weights"
        } | {"training": training}

    def hessian(self, flat: Float[Tensor, " P"], weights: Float[Tensor, " N"]) -> Tensor:
        """The Hessian of the objective with these weights of the losses, P x P."""
        rows = max(1, _HESSIAN_NUMBERS // self.count)
        found: Tensor = jacrev(grad(self._objective), chunk_size=rows)(flat, weights)
        return found

    def _objective(self, flat: Tensor, weights: Tensor) -> Tensor:
        pieces = flat.split([shape.numel() for shape in self._shapes])
        state = {
            name: piece.view(shape)
            for name, piece, shape in zip(self._names, pieces, self._shapes, strict=True)
        }
        losses = functional_call(_Losses(self), {f"model.{k}": v for k, v in state.items()}, ())
        value: Tensor = (losses * weights).sum() + self.l2 / 2 * flat.square().sum()
        return value

    def _minima(self, weights: Float[Tensor, "M N"]) -> Float[Tensor, "M P"]:
        start, factor = self._begun()
        flat = start.repeat(len(weights), 1)
        gradients = vmap(grad(self._objective))
        active = torch.arange(len(weights))
        before = torch.full((len(weights),), torch.inf, dtype=flat.dtype)
        for _ in range(_MOST_STEPS):
            g = gradients(flat[active], weights[active])
            size = g.abs().amax(dim=1)
            going = (size > self.tolerance) & (size <= _PROGRESS * before[active])
            before[active] = size
            active, g = active[going], g[going]
            if not len(active):
                break
            flat[active] -= torch.cholesky_solve(g.mT, factor).mT
        for number in (before > self.tolerance).nonzero()[:, 0].tolist():
            flat[number] = self._newton(start, weights[number])
        return flat

    def _begun(self) -> tuple[Tensor, Tensor]:
        """The minimum over all data, and the Cholesky factor of the Hessian there."""
        if self._from is None:
            flat = torch.cat([p.detach().flatten() for p in self.template.parameters()])
            weights = torch.full((self.count,), 1 / self.count, dtype=flat.dtype)
            flat = self._newton(torch.zeros_like(flat), weights)
            self._from = flat, self._factor(flat, weights)
        return self._from

    def _newton(self, flat: Tensor, weights: Tensor) -> Tensor:
        for _ in range(_MOST_STEPS):
            g = grad(self._objective)(flat, weights)
            if float(g.abs().max()) <= self.tolerance:
                return flat
            step = torch.cholesky_solve(g[:, None], self._factor(flat, weights))[:, 0]
            flat = self._shortened(flat, step, g, weights)
        raise ConvergenceError(
            f"the gradient still has an entry of {float(g.abs().max()):.3g} after {_MOST_STEPS} "
            f"Newton steps; expected at most {self.tolerance:.3g}. Raise `tolerance`, or `l2`"
        )

    def _shortened(self, flat: Tensor, step: Tensor, g: Tensor, weights: Tensor) -> Tensor:
        """A step that is halved until it does what a step down has to."""
        here, fall = self._objective(flat, weights), float(g @ step)
        share = 1.0
        for _ in range(_HALVINGS):
            there = self._objective(flat - share * step, weights)
            # Near the minimum the fall is below what the objective's own rounding shows.
            if float(there) <= float(here) - 1e-4 * share * fall + 1e-14 * abs(float(here)):
                return flat - share * step
            share /= 2
        raise ConvergenceError(
            "no step along Newton's direction lowers the objective; the loss isn't smooth there. "
            "Train the model by a Recipe"
        )

    def _factor(self, flat: Tensor, weights: Tensor) -> Tensor:
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(self.hessian(flat, weights))
        if int(failed):
            raise ConvergenceError(
                "the objective isn't convex: its Hessian has an eigenvalue that isn't positive. "
                "Train the model by a Recipe, and take the removal of blocks in place of "
                "leave-one-out"
            )
        return factor


class _Losses(nn.Module):
    """All losses of a model, for torch.func."""

    def __init__(self, retraining: ConvexRetraining) -> None:
        super().__init__()
        self.model = retraining.template
        self._objective, self._whole = retraining.objective, retraining.data.whole

    def forward(self) -> Tensor:
        return self._objective.losses(self.model, self._whole)
