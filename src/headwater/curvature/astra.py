"""ASTRA: the EK-FAC solution, refined by steps with the true Gauss-Newton matrix of batches."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from headwater.curvature.curvature import Curvature, Inverse
from headwater.curvature.ekfac import EKFAC
from headwater.curvature.products import Products
from headwater.curvature.vectors import as_vectors, in_blocks
from headwater.errors import CurvatureError, InputError
from headwater.linalg import counter_uniform
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float
    from torch import Tensor

    from headwater.curvature.block_inverse import BlockInverse
    from headwater.curvature.training_pass import TrainingPass
    from headwater.forms import Gradients

# What the step length is settled on: so many batches, and steps of power iteration on each.
_BATCHES, _POWER_STEPS = 4, 10
# A residual that many times what it was at first, or the right-hand side, is no noise of batches.
_DIVERGED = 1e4


@dataclass(frozen=True)
class ASTRA(Curvature):
    """v <- v - alpha P^-1 [(G_B + damping) v - g], from v = P^-1 g, P that of EK-FAC.

    What EK-FAC leaves out (products between layers, and within one those that don't factorise) is
    put back, step by step. A step is a product with the Gauss-Newton matrix of one batch for every
    query. The damping is EK-FAC's, layer by layer.

    Attributes:
        preconditioner: EK-FAC, with its settings.
        steps: how many.
        batch_size: examples in G_B, drawn anew for every step; None takes all training data.
        learning_rate: alpha; None takes the inverse of the largest eigenvalue of
            P^-1 (G_B + damping) in some batches, the longest step that surely contracts. With
            batches it falls to zero over the steps, so that their noise averages out.
        seed: of the draws.

    Source: Wang et al. (2025), arXiv 2507.14740. Differs: no momentum, alpha as said.
    """

    preconditioner: EKFAC = field(default_factory=EKFAC)
    _: KW_ONLY
    steps: int = 100
    batch_size: int | None = 256
    learning_rate: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.preconditioner, EKFAC):
            raise CurvatureError(f"preconditioner is {self.preconditioner!r}; expected an EKFAC")
        for name, value in (("steps", self.steps), ("batch_size", self.batch_size)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise CurvatureError(f"{name} is {value!r}; expected an int of at least 1")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise CurvatureError(f"learning_rate is {self.learning_rate!r}; expected one above 0")

    def fit(self, training: TrainingPass) -> Inverse:
        rough = self.preconditioner.fit(training)
        refined = Refined(rough, Products(training, "gauss_newton"), self)
        refined.settle_learning_rate()
        return refined


class Refined(Inverse):
    """The refined inverse.

    Args:
        rough: EK-FAC's.
        products: with the Gauss-Newton matrix.
        options: the steps.
    """

    def __init__(self, rough: BlockInverse, products: Products, options: ASTRA) -> None:
        self._rough = rough
        self._products = products
        self._options = options
        self._shapes = products.training.shapes
        self._rate = 0.0
        # What curvature isn't known of has no gradients, and stays zero.
        added = {name: amount for block, amount in rough.added.items() for name in block}
        self._added = [(shape.numel(), added.get(n, 0.0)) for n, shape in self._shapes.items()]

    @property
    def numbers(self) -> int:
        return self._products.numbers

    def aligned(self, gradients: Gradients, checkpoint: int) -> Gradients:
        return self._rough.aligned(gradients, checkpoint)

    def solve(self, gradients: Gradients) -> Gradients:
        like, blocks = gradients.like, self._rough.blocks.spectra
        right = as_vectors(gradients, self._shapes)
        solution = self._preconditioned(right, like)
        steps = self._options.steps
        limit = right.new_zeros(len(right))
        for step, batch in zip(range(steps), self._batches(), strict=False):
            residual = self._multiplied(batch, solution) - right
            size = residual.norm(dim=1)
            if step == 0:
                limit = _DIVERGED * torch.maximum(size, right.norm(dim=1))
            self._refuse_divergence(size, limit, step)
            rate = self._rate
            if self._options.batch_size is not None:
                rate *= 1 - step / steps
            solution = solution - rate * self._preconditioned(residual, like)
        return in_blocks(solution, blocks, self._shapes, like)

    def _refuse_divergence(self, size: Tensor, limit: Tensor, step: int) -> None:
        """Raises CurvatureError for steps that led away from the solution.

        Args:
            size: by query, how far the solution is from solving its equation.
            limit: likewise, how far it may be at the end. On the way it may be further: steps that
                grow shorter can make up for it.
            step: how many steps were taken.
        """
        last = step == self._options.steps - 1
        if bool((size <= limit).all() if last else size.isfinite().all()):
            return
        remedy = (
            f"other batches have larger curvature than those that the step length of "
            f"{self._rate:.3g} was settled on: pass a smaller learning_rate, or a larger batch_size"
            if self._options.learning_rate is None
            else f"learning_rate={self._rate:g} is too long a step: lower it, or leave it None, "
            f"for the longest that surely contracts"
        )
        raise CurvatureError(
            f"ASTRA diverged: after {step} of {self._options.steps} steps it is much further from "
            f"the solution than EK-FAC, which it began with; {remedy}"
        )

    def quadratic(self, gradients: Gradients) -> Float[Tensor, " B"]:
        solved = as_vectors(self.solve(gradients), self._shapes)
        return (solved * as_vectors(gradients, self._shapes)).sum(dim=1)

    @property
    def description(self) -> str:
        options = self._options
        size = "all examples" if options.batch_size is None else f"{options.batch_size} examples"
        how = "as given" if options.learning_rate else "1 / the largest eigenvalue that it meets"
        return (
            f"ASTRA, {options.steps} steps of length {self._rate:.3g} ({how}) with the "
            f"Gauss-Newton matrix of {size}, from\n{self._rough.description}"
        )

    def settle_learning_rate(self) -> None:
        """The step length, by power iteration on P^-1 (G_B + damping) unless it was given."""
        if self._options.learning_rate is not None:
            self._rate = self._options.learning_rate
            return
        parameter = next(self._products.training.net.parameters())
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        like = torch.empty(0, dtype=dtype, device=parameter.device)
        columns = torch.arange(self.numbers, device=parameter.device)
        vector = counter_uniform(1, columns[:1], columns).to(dtype) - 0.5
        largest = 1.0
        looked_at = 1 if self._options.batch_size is None else _BATCHES
        for _, batch in zip(range(looked_at), self._batches(), strict=False):
            for _ in range(_POWER_STEPS):
                vector = vector / vector.norm()
                vector = self._preconditioned(self._multiplied(batch, vector), like)
            largest = max(largest, float(vector.norm()))
        self._rate = 1 / largest

    def _preconditioned(self, vectors: Tensor, like: Tensor) -> Tensor:
        cut = in_blocks(vectors, self._rough.blocks.spectra, self._shapes, like)
        return as_vectors(self._rough.solve(cut), self._shapes)

    def _multiplied(self, batch: Any, vectors: Tensor) -> Tensor:
        if batch is None:
            product = self._products.mean(vectors)
        else:
            total, size = self._products.of_batch(batch, vectors)
            product = total / max(1, size)
        start = 0
        for size, added in self._added:
            product[:, start : start + size] += added * vectors[:, start : start + size]
            start += size
        return product

    def _batches(self) -> Iterator[Any]:
        """A batch for each step, of examples drawn without replacement; None stands for all."""
        size, data = self._options.batch_size, self._products.training.data
        if size is None:
            while True:
                yield None
        device = next(self._products.training.net.parameters()).device
        generator = torch.Generator().manual_seed(self._options.seed)
        while True:
            if data.count is None:
                # From a stream none can be picked: its own batches, in their order.
                yield from self._products.training.again()
                continue
            order = torch.randperm(data.count, generator=generator)
            for places in order.split(min(size, data.count)):
                try:
                    part = data.subset(places.tolist())
                except InputError:
                    yield from self._products.training.again()
                    break
                for batch in part.batches(len(places)):
                    yield borrow(batch, device)
