"""What a classifier put out for a batch while its loss was computed, and what its head read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from headwater.cleaning.class_probabilities import log_probabilities
from headwater.errors import InputError
from headwater.tasks.model_output import tensor_in

if TYPE_CHECKING:
    from types import TracebackType

    from jaxtyping import Float

    from headwater.tasks import Task


class Outputs:
    """Within a `with`: notes the model's output, and the input of the last linear layer called.

    Args:
        net: the model.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._output: Any = None
        self._read: Tensor | None = None
        self._given: Tensor | None = None
        self._handles: list[Any] = []

    def __enter__(self) -> Outputs:
        self._handles = [
            self._net.register_forward_pre_hook(self._called),
            self._net.register_forward_hook(self._returned),
        ]
        for module in self._net.modules():
            if isinstance(module, nn.Linear):
                self._handles.append(module.register_forward_pre_hook(self._reads))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def log_probabilities(self, task: Task, size: int) -> Float[Tensor, "B K"]:
        """The classes' log-probabilities, in float32 at least; see `log_probabilities`.

        Args:
            task: whose losses were computed.
            size: how many examples there are, B.

        Raises:
            InputError: the output isn't of a classifier: a row of numbers per example.
        """
        output = tensor_in(self._output)
        if (
            output is None
            or not output.dim()
            or not output.is_floating_point()
            or (len(output) != size)
        ):
            came = "no tensor" if output is None else f"a tensor of shape {tuple(output.shape)}"
            raise InputError(
                f"the model put out {came} for {size} examples; suspects are found in the training "
                f"set of a classifier, with a row of logits per example, shape ({size}, classes)"
            )
        found = log_probabilities(task, output)
        if found is None:
            raise InputError(
                f"the model put out a tensor of shape {tuple(output.shape)}; expected one row of "
                f"logits per example, ({size}, classes): a label for each token or pixel isn't "
                f"what suspects are found by"
            )
        return found

    def features(self, size: int) -> Float[Tensor, "B D"] | None:
        """What the last linear layer read, averaged over positions; None where there is no such."""
        read = self._read
        if read is None or read.shape[0] != size or not read.is_floating_point():
            return None
        read = read.detach().float()
        return read.flatten(1, -2).mean(dim=1) if read.dim() > 2 else read

    def inputs(self, size: int) -> Float[Tensor, "B D"] | None:
        """What the model read, as rows of numbers; None where it isn't one tensor of them."""
        given = self._given
        if given is None or given.shape[0] != size:
            return None
        return given.detach().float().flatten(1)

    def _called(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        first = arguments[0] if len(arguments) == 1 else None
        numbers = isinstance(first, Tensor) and first.is_floating_point() and first.dim() > 1
        self._given = first if numbers else None

    def _returned(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._output = output

    def _reads(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if arguments and isinstance(arguments[0], Tensor) and arguments[0].dim() > 1:
            self._read = arguments[0]
