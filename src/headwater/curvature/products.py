"""The curvature of the training loss times vectors, without the curvature itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from headwater.capture.graph_size import graph_size
from headwater.capture.transposed_products import transposed_products
from headwater.curvature.find_likelihood import find_likelihood
from headwater.curvature.outputs import split
from headwater.errors import CurvatureError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.curvature.training_pass import TrainingPass

Matrix: TypeAlias = Literal["gauss_newton", "hessian"]


def no_curvature() -> CurvatureError:
    """What to raise for a matrix of zeros."""
    return CurvatureError(
        "the curvature is zero: the loss is linear in the model's output, most likely; let the "
        "model return logits, and a loss such as cross-entropy take them"
    )


def checked_matrix(matrix: str) -> None:
    """Raises CurvatureError for a name of no matrix."""
    if matrix not in ("gauss_newton", "hessian"):
        raise CurvatureError(
            f"matrix is {matrix!r}; expected 'gauss_newton', which has no negative eigenvalue for "
            f"a convex loss, or 'hessian'"
        )


@dataclass(frozen=True)
class Products:
    """The sum over examples of J^T H J (Gauss-Newton) or of Hessians, times vectors.

    J is the derivative of an example's outputs by the selected parameters, H the second derivative
    of its loss by the outputs. All are at the model's present weights.

    Attributes:
        training: model and data.
        matrix: which of the two.
    """

    training: TrainingPass
    matrix: Matrix

    @property
    def numbers(self) -> int:
        """The length of a vector, P: all selected parameters, in order."""
        return sum(shape.numel() for shape in self.training.shapes.values())

    def mean(self, vectors: Float[Tensor, "Q P"]) -> Float[Tensor, "Q P"]:
        """The mean over all training examples, times every vector."""
        total, count = torch.zeros_like(vectors), 0
        for batch in self.training.again():
            products, size = self.of_batch(batch, vectors)
            total += products
            count += size
        return total / max(1, count)

    def of_batch(
        self, batch: Any, vectors: Float[Tensor, "Q P"]
    ) -> tuple[Float[Tensor, "Q P"], int]:
        """The sum over a batch's examples, times every vector; and how many examples they are."""
        parameters = dict(self.training.net.named_parameters())
        chosen = [parameters[name] for name in self.training.selection]
        sizes = [parameter.numel() for parameter in chosen]
        # Fused attention can't be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH):
            with graph_size(self.training.net) as graph:
                multiply, size = (
                    self._gauss_newton(batch, chosen)
                    if self.matrix == "gauss_newton"
                    else self._hessian(batch, chosen)
                )
            found = []
            for part in vectors.split(graph.vectors_at_once):
                columns = [
                    column.reshape(-1, *parameter.shape).to(parameter.dtype)
                    for column, parameter in zip(part.split(sizes, dim=1), chosen, strict=True)
                ]
                products = [product.flatten(1) for product in multiply(columns)]
                found.append(torch.cat(products, dim=1).to(vectors.dtype))
        return torch.cat(found), size

    def _gauss_newton(
        self, batch: Any, chosen: Sequence[Tensor]
    ) -> tuple[Callable[[list[Tensor]], list[Tensor]], int]:
        task, net = self.training.task, self.training.net
        halves = split(task, net, batch)
        outputs, cut = halves.outputs, halves.cut
        likelihood = find_likelihood(task, net)
        (slope,) = torch.autograd.grad(halves.losses.sum(), [cut], create_graph=True)
        # J^T u is linear in u, so that its derivative by u in the direction v is J v.
        dual = torch.zeros_like(outputs, requires_grad=True)
        back = _transposed(outputs, chosen, dual)

        def multiply(vectors: list[Tensor]) -> list[Tensor]:
            (forward,) = _products(back, [dual], vectors)
            curved = None
            if likelihood is not None:
                products = [likelihood.product(outputs.detach(), batch, one) for one in forward]
                if products and products[0] is not None:
                    curved = torch.stack([one for one in products if one is not None])
            if curved is None:
                (curved,) = _products([slope], [cut], [forward])
            return _products([outputs], chosen, [curved])

        return multiply, len(halves.losses)

    def _hessian(
        self, batch: Any, chosen: Sequence[Tensor]
    ) -> tuple[Callable[[list[Tensor]], list[Tensor]], int]:
        losses = self.training.task.own_losses(self.training.net, batch)
        slopes = torch.autograd.grad(losses.sum(), chosen, create_graph=True, allow_unused=True)
        kept = [place for place, slope in enumerate(slopes) if slope is not None]

        def multiply(vectors: list[Tensor]) -> list[Tensor]:
            present = [slopes[place] for place in kept]
            return _products(present, chosen, [vectors[place] for place in kept])

        return multiply, len(losses)


def _transposed(outputs: Tensor, chosen: Sequence[Tensor], dual: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(outputs, chosen, dual, create_graph=True, allow_unused=True)
    return [
        torch.zeros_like(parameter) if grad is None else grad
        for parameter, grad in zip(chosen, found, strict=True)
    ]


def _products(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor]
) -> list[Tensor]:
    """The outputs' derivative transposed times each of the vectors, which are few enough."""
    return transposed_products(outputs, inputs, vectors, at_once=len(vectors[0]))
