"""Retraining by a recipe: many small models at once, or one by one where that can't be."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from headwater.errors import InputError
from headwater.evaluation.retraining import Retraining, States, states_of
from headwater.evaluation.stack import Stack, all_tensors, weights_of, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from headwater.evaluation.recipe import Recipe
    from headwater.evaluation.run import Run
    from headwater.tasks import Task

logger = logging.getLogger("headwater")

# Weights of a stack, their gradients and the optimizer's own tensors stay within this much memory.
_STACK_BYTES = 256 * 2**20
_SIZES = (8, 24, 64)
# Where a stack takes so many times as long per model, a larger one isn't tried.
_HOPELESS = 1.5
_TRIED_STEPS = 5


class RecipeRetraining(Retraining):
    """Training by a `Recipe`, with the same batches in a stack of models as alone.

    Models in a stack are trained by one forward and backward pass together, which for small models
    is many times as fast. What can't be in a stack (dropout, batch normalisation, recurrent layers,
    what `torch.func.vmap` refuses, batches that have to be collated) is trained one by one, which
    is said once in the log; so is what turns out to be faster alone.

    Args:
        recipe: how a model is trained.
        at_once: how many models are in a stack; "auto" tries a few updates both ways; 1 trains one
            by one.
        model, dataset, loss_fn, task, collate_fn: see `Retraining`.

    Raises:
        InputError: an argument is of the wrong kind.
        LossError: the loss isn't one number per example.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module] | nn.Module,
        dataset: Any,
        recipe: Recipe,
        *,
        loss_fn: Callable[..., Any] | None = None,
        task: Task | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        at_once: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(model, dataset, loss_fn=loss_fn, task=task, collate_fn=collate_fn)
        if at_once != "auto" and (not isinstance(at_once, int) or at_once < 1):
            raise InputError(f"at_once is {at_once!r}; expected 'auto' or at least 1")
        self.recipe = recipe
        some = self.data.batch(torch.arange(min(2, self.count)))
        with torch.no_grad():
            self.objective.checked(self.initial(0).eval(), some, min(2, self.count))
        self.at_once = self._fitting(at_once)

    def states(self, runs: Sequence[Run]) -> States:
        groups: dict[int, list[int]] = {}
        for number, run in enumerate(runs):
            groups.setdefault(len(run.members), []).append(number)
        parts: list[States] = []
        order: list[int] = []
        for numbers in groups.values():
            for start in range(0, len(numbers), self.at_once):
                some = numbers[start : start + self.at_once]
                chosen = [runs[number] for number in some]
                one_by_one = self.at_once == 1
                parts.append(self._alone(chosen) if one_by_one else self._together(chosen))
                order.extend(some)
        back = torch.tensor(order).argsort()
        return {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}

    def train(
        self,
        run: Run,
        watch: Callable[[nn.Module, torch.optim.Optimizer], AbstractContextManager[Any]]
        | None = None,
    ) -> nn.Module:
        """The model of one run, trained by itself.

        Args:
            run: what it is trained on.
            watch: is given the model and its optimizer before the first update, and returns a
                context manager that the training runs in, such as a `CheckpointRecorder`, whose
                `batch` and `note_loss` then hear of every batch and its loss.
        """
        model = self.initial(run.seed)
        learned = [p for p in model.parameters() if p.requires_grad]
        optimizer = self.recipe.optimizer_of(learned)
        present = run.present(self.count)
        steps = self.recipe.steps(len(run.members))
        # Dropout draws from a generator that is the run's own.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            with (watch or _nothing)(model, optimizer) as watching:
                note = getattr(watching, "note_loss", None)
                # With examples left out, batches don't say what the losses were of.
                listing = getattr(watching, "batch", None) if bool(present.all()) else None
                for step, batch in enumerate(self.recipe.batches(len(run.members), run.seed)):
                    places = run.members[batch]
                    optimizer.zero_grad()
                    if listing is not None:
                        listing(places)
                    losses = self.objective.losses(model, self.data.batch(places))
                    kept = present[places].to(losses)
                    loss = (losses * kept).sum() / len(places)
                    loss.backward()
                    if note is not None:
                        note(loss)
                    if self.recipe.clip_norm is not None:
                        nn.utils.clip_grad_norm_(learned, self.recipe.clip_norm)
                    for group in optimizer.param_groups:
                        group["lr"] = self.recipe.rate(step, steps)
                    optimizer.step()
        return model

    def facts(self) -> dict[str, Any]:
        return {**self.common_facts(), "training": self.recipe.facts()}

    def _alone(self, runs: Sequence[Run]) -> States:
        return states_of([self.train(run) for run in runs])

    def _together(self, runs: Sequence[Run]) -> States:
        """The states of runs with equally many members."""
        stack = self._stack(runs)
        members = torch.stack([run.members for run in runs])
        present = torch.stack([run.present(self.count) for run in runs])
        count = members.shape[1]
        steps = self.recipe.steps(count)
        orders = [self.recipe.batches(count, run.seed) for run in runs]
        for step, batches in enumerate(zip(*orders, strict=True)):
            places = members.gather(1, torch.stack(batches))
            stack.step(places, weights_of(present, places), self.recipe.rate(step, steps))
        return stack.states(list(self.template.state_dict()))

    def _stack(self, runs: Sequence[Run]) -> Stack:
        models = [self.initial(run.seed) for run in runs]
        return Stack(models, self.objective, self.data.whole, self.recipe)

    def _fitting(self, asked: int | Literal["auto"]) -> int:
        """How many models a stack is to have; 1 where one by one is right, or faster."""
        if asked == 1:
            return 1
        why = self._why_alone(2)
        if why is not None:
            logger.warning("headwater: models are retrained one by one, since %s", why)
            return 1
        if asked != "auto":
            return asked
        nbytes = sum(p.numel() * p.element_size() for p in self.template.parameters())
        most = max(2, min(_SIZES[-1], _STACK_BYTES // (4 * max(1, nbytes))))
        seconds = {1: self._seconds_alone()}
        for size in [size for size in _SIZES if size < most] + [most]:
            seconds[size] = self._seconds_together(size) / size
            if seconds[size] > _HOPELESS * seconds[1]:
                break
        # Each once more, so that a moment in which the machine was busy decides nothing.
        for size in seconds:
            again = self._seconds_together(size) / size if size > 1 else self._seconds_alone()
            seconds[size] = min(seconds[size], again)
        best = min(seconds, key=lambda size: seconds[size])
        if best == 1:
            logger.info("headwater: models are retrained one by one, which is faster here")
        return best

    def _why_alone(self, size: int) -> str | None:
        if self.data.whole is None or not all_tensors(self.data.whole):
            return "their batches have to be made one by one"
        why = why_not(self.template)
        if why is not None:
            return why
        runs = self._tried(size)
        try:
            stack = self._stack(runs)
            places, weights = self._first_batches(runs)
            if stack.disagrees(places, weights):
                return "in a stack their gradients come out differently"
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return f"torch.func.vmap can't take them ({said[:200]})"
        return None

    def _tried(self, size: int) -> list[Run]:
        return [self.whole(seed) for seed in range(size)]

    def _first_batches(self, runs: Sequence[Run]) -> tuple[torch.Tensor, torch.Tensor]:
        places = torch.stack([next(self.recipe.batches(self.count, run.seed)) for run in runs])
        return places, weights_of(torch.ones(len(runs), self.count, dtype=torch.bool), places)

    def _seconds_together(self, size: int) -> float:
        runs = self._tried(size)
        stack = self._stack(runs)
        places, weights = self._first_batches(runs)
        return _seconds_of(lambda: stack.step(places, weights, 0.0))

    def _seconds_alone(self) -> float:
        (run,) = self._tried(1)
        model = self.initial(run.seed)
        optimizer = self.recipe.optimizer_of(p for p in model.parameters() if p.requires_grad)
        places, _ = self._first_batches([run])

        def step() -> None:
            optimizer.zero_grad()
            self.objective.losses(model, self.data.batch(places[0])).mean().backward()
            optimizer.step()

        return _seconds_of(step)


def _seconds_of(step: Callable[[], None]) -> float:
    """The shortest time that an update took, of several.

    The clock or the processor's time, whichever is shorter: a long update is interrupted by what
    else runs on the machine and a short one isn't, and on two cores the processor's is double.
    """
    found = []
    for _ in range(_TRIED_STEPS):
        begun = time.perf_counter(), time.process_time()
        step()
        found.append(min(time.perf_counter() - begun[0], time.process_time() - begun[1]))
    return min(found)


def _nothing(model: nn.Module, optimizer: torch.optim.Optimizer) -> AbstractContextManager[None]:
    return nullcontext()
