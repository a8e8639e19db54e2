"""The derivative of the queries' losses by the state of a run, taken back over one update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.replay.derivatives import coefficients, rule_of

if TYPE_CHECKING:
    from headwater.checkpoints import RecordedStep, Setting
    from headwater.replay import Snapshot

Rows = dict[str, Tensor]
"""By parameter, a row per query."""


class Adjoint:
    """What the queries' losses at the end change by, per change of weights and moments now.

    Args:
        weights: by parameter, the derivatives at the end: a row per query, in memory of its own,
            which is written to.
        frozen: see `UpdateRule.update`.

    Attributes:
        weights: the derivatives by the weights before the update that was gone back over last.
    """

    def __init__(self, weights: Rows, *, frozen: bool) -> None:
        self.weights = dict(weights)
        # By parameter and kind.
        self._moments: dict[str, Rows] = {}
        self._frozen = frozen

    def back_over(
        self,
        step: RecordedStep,
        before: Snapshot,
        gradients: Mapping[str, Tensor],
        names: Mapping[str, str],
    ) -> Rows:
        """Goes back over the optimizer's part of an update.

        What the gradient itself depends on is the caller's part: by the weights, where it counts.

        Args:
            step: the update.
            before: the state that it was taken from.
            gradients: of the batch's loss, of all parameters that had one.
            names: from every name of a parameter to the one that it goes by here.

        Returns:
            the derivatives by the gradient, for the parameters that the update moved.
        """
        by_gradient: Rows = {}
        rule = rule_of(step.optimizer)
        for settings, moments, members in _alike(step, before, gradients, names):
            found = coefficients(
                rule,
                _joined([before.weights[name] for name in members]),
                _joined([gradients[name].detach() for name in members]),
                moments,
                settings,
                frozen=self._frozen,
            )
            start = 0
            for name in members:
                shape = before.weights[name].shape
                stop = start + before.weights[name].numel()
                after = {"weight": self.weights[name], **self._moments.get(name, {})}
                entries = slice(start, stop)
                parts = {
                    out: {source: one[entries].view(shape) for source, one in into.items()}
                    for out, into in found.items()
                }
                back = _through(after, parts)
                self.weights[name] = _taken(back, "weight", after)
                by_gradient[name] = _taken(back, "gradient", after)
                self._moments[name] = back
                start = stop
        return by_gradient


def _through(after: Rows, factors: Mapping[str, Mapping[str, Tensor]]) -> Rows:
    """By the state before, what the derivatives by the state after come to; uses the latter up.

    A row per query and as many numbers as the model has: fresh memory for each product would take
    longer than the products.
    """
    back: Rows = {}
    for out, rows in after.items():
        into = list(factors.get(out, {}).items())
        for place, (source, factor) in enumerate(into, start=1):
            if source in back:
                back[source].addcmul_(rows, factor)
            elif place == len(into):
                back[source] = rows.mul_(factor)
            else:
                back[source] = rows * factor
    return back


def _taken(back: Rows, source: str, after: Rows) -> Tensor:
    found = back.pop(source, None)
    return torch.zeros_like(after["weight"]) if found is None else found


def _alike(
    step: RecordedStep,
    before: Snapshot,
    gradients: Mapping[str, Tensor],
    names: Mapping[str, str],
) -> Iterator[tuple[Mapping[str, Setting], dict[str, Tensor], list[str]]]:
    """Parameters whose update is computed at once: settings, joined moments, and their names."""
    for listed, settings in zip(step.layout, step.settings, strict=True):
        together: dict[Any, list[str]] = defaultdict(list)
        for name in dict.fromkeys(names[one] for one in listed):
            if name in gradients:
                moments = before.moments.get(name, {})
                count = float(moments["step"]) if "step" in moments else 0.0
                weight = before.weights[name]
                key = (frozenset(moments), count, weight.dtype, weight.device)
                together[key].append(name)
        for members in together.values():
            first = before.moments.get(members[0], {})
            joined = {
                kind: value
                if kind == "step"
                else _joined([before.moments[name][kind] for name in members])
                for kind, value in first.items()
            }
            yield settings, joined, members


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
