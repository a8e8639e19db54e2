"""The run's model and optimizer, taken through updates again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import Tensor, nn

from headwater.capture import borrowed
from headwater.checkpoints import load_state
from headwater.errors import NotReplayableError
from headwater.replay.examples import Examples, weights_of
from headwater.replay.snapshot import Snapshot
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from jaxtyping import Float

    from headwater.checkpoints import Layout, RecordedStep
    from headwater.replay.objective import Objective

# What a replay makes anew, by the name that is recorded.
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
}


class Player:
    """Takes updates of a run again, in the user's model, which is borrowed.

    Args:
        model: the model.
        examples: the training data.
        objective: what training minimised.
        max_grad_norm: what the gradient's norm is clipped to; None doesn't clip.
        trained: the names of the parameters that required grad in training; None where nobody
            noted it: then those that do now, or, in a model that was frozen since, all that the
            optimizer had.
    """

    def __init__(
        self,
        model: nn.Module,
        examples: Examples,
        objective: Objective,
        max_grad_norm: float | None,
        trained: frozenset[str] | None,
    ) -> None:
        self.model = model
        self.objective = objective
        self.max_grad_norm = max_grad_norm
        self._examples = examples
        self._trained = trained
        self._optimizer: torch.optim.Optimizer | None = None
        self._layout: Layout | None = None
        self.parameters: dict[str, nn.Parameter] = {}

    @contextmanager
    def borrowing(self, state: Mapping[str, Tensor], layout: Layout) -> Iterator[Player]:
        """Within, the model's weights may be overwritten; afterwards it is as it was.

        Args:
            state: what is loaded into it first.
            layout: the parameters that its optimizer had, by group.
        """
        with borrowed(self.model):
            load_state(self.model, state, "the run's beginning")
            # By every name of a tied one.
            named = self.model.named_parameters(remove_duplicate=False)
            self._by_name = dict(named)
            self._thaw(layout)
            self.parameters = {
                name: parameter
                for name, parameter in self.model.named_parameters()
                if parameter.requires_grad
            }
            self.device = next(self.model.parameters()).device
            try:
                yield self
            finally:
                self._optimizer = self._layout = None
                self.parameters = self._by_name = {}

    def _thaw(self, layout: Layout) -> None:
        listed = {name for group in layout for name in group}
        found = {name for name, p in self._by_name.items() if p.requires_grad}
        trained = self._trained or (found if found & listed else listed)
        for name, parameter in self._by_name.items():
            if parameter.is_floating_point():
                parameter.requires_grad_(name in trained)

    @property
    def names(self) -> dict[str, str]:
        """From every name of a parameter to the one that it goes by."""
        first = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return {name: first[id(parameter)] for name, parameter in self._by_name.items()}

    def load(self, snapshot: Snapshot, step: RecordedStep) -> None:
        """Puts the model and the optimizer into the state before an update.

        Args:
            snapshot: the state.
            step: the update, which says what the optimizer is.
        """
        self.load_weights(snapshot.weights)
        self._make(step)
        assert self._optimizer is not None
        self._optimizer.state.clear()
        for name, kinds in snapshot.moments.items():
            self._optimizer.state[self._by_name[name]] = {
                kind: value.clone() for kind, value in kinds.items()
            }

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Puts weights into the model."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def snapshot(self, step: int) -> Snapshot:
        """The present state, before update number `step`."""
        state: Mapping[Tensor, Mapping[str, Any]] = (
            {} if self._optimizer is None else self._optimizer.state
        )
        return Snapshot(
            step,
            {name: value.detach().clone() for name, value in self.parameters.items()},
            {
                name: {
                    kind: value.detach().clone()
                    for kind, value in state.get(parameter, {}).items()
                    if isinstance(value, Tensor)
                }
                for name, parameter in self.parameters.items()
            },
        )

    def take(self, step: RecordedStep, example_weights: Float[Tensor, " N"] | None = None) -> None:
        """Takes an update.

        Args:
            step: which.
            example_weights: what each example's loss is multiplied by; the mean's divisor stays.
        """
        self._make(step)
        assert self._optimizer is not None
        self._optimizer.zero_grad(set_to_none=True)
        batch = self.ready(step)
        weights = weights_of(example_weights, step.examples)
        with self._buffers_kept(step):
            if weights is None:
                loss = self.objective.total(self.model, batch)
            else:
                loss = self.weighted(batch, weights.to(self.device))
        loss.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self._optimizer.step()

    def weighted(self, batch: Any, weights: Float[Tensor, " B"]) -> Float[Tensor, ""]:
        """The batch's loss with a weight on each of its examples' own."""
        losses = self.objective.losses(self.model, batch)
        total = (losses * weights.to(losses.dtype)).sum()
        return total / self.objective.divisor(losses.shape[0])

    def shares(self, batch: Any) -> Float[Tensor, " B"]:
        """What each of a batch's examples adds to its loss."""
        losses = self.objective.losses(self.model, batch)
        return losses / self.objective.divisor(losses.shape[0])

    def ready(self, step: RecordedStep) -> Any:
        """The batch of an update, with the model and the generator as they were before it."""
        evaluated = set(step.evaluated)
        for name, module in self.model.named_modules():
            module.training = name not in evaluated
        if step.rng is not None:
            state = numpy.frombuffer(step.rng, dtype=numpy.uint8).copy()
            torch.set_rng_state(torch.from_numpy(state))
        return borrow(self._examples.batch(step.examples), self.device)

    def _make(self, step: RecordedStep) -> None:
        """Sees to it that there is the update's optimizer, with its settings."""
        made = None if self._optimizer is None else type(self._optimizer).__name__
        if self._optimizer is None or (made, self._layout) != (step.optimizer, step.layout):
            # Groups may be added to an optimizer; another one begins anew.
            same = self._optimizer is not None and made == step.optimizer
            old = self._optimizer.state if self._optimizer is not None and same else {}
            groups: list[dict[str, Any]] = [
                {"params": list(dict.fromkeys(self._by_name[name] for name in names))}
                for names in step.layout
            ]
            if step.optimizer not in OPTIMIZERS:
                raise NotReplayableError(
                    f"update {step.step} was taken by {step.optimizer}, which is none of "
                    f"torch.optim's; its updates can't be taken again"
                )
            self._optimizer = OPTIMIZERS[step.optimizer](groups, **_needed(step))
            self._optimizer.state.update(old)
            self._layout = step.layout
        for group, settings in zip(self._optimizer.param_groups, step.settings, strict=True):
            group.update({key: _read(value) for key, value in settings.items()})

    @contextmanager
    def _buffers_kept(self, step: RecordedStep) -> Iterator[None]:
        # Kernels that update running statistics don't count up the version; values tell.
        before = {
            name: (buffer, buffer._version, buffer.clone() if buffer.is_floating_point() else None)
            for name, buffer in self.model.named_buffers()
        }
        yield
        for name, buffer in self.model.named_buffers():
            old, version, value = before.get(name, (None, 0, None))
            same = buffer is old and buffer._version == version
            if not same or (value is not None and not torch.equal(buffer, value)):
                raise NotReplayableError(
                    f"the forward pass of update {step.step} changes the buffer {name!r} (running "
                    f"statistics of a BatchNorm?): the weights at the end depend on examples "
                    f"through it too, which isn't followed. Train with such layers in eval mode, "
                    f"or with GroupNorm or LayerNorm"
                )


def _needed(step: RecordedStep) -> dict[str, Any]:
    # The constructor looks at these; each group has its own afterwards.
    return {"lr": step.settings[0]["lr"]}


def _read(value: Any) -> Any:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    return tuple(value) if isinstance(value, list) else value
