"""From a task, a model and a batch to per-example gradients."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, filterwarnings

import torch
from torch import Tensor, nn

from headwater.adapters import refuse_inactive
from headwater.capture.abreast import refuse_changes
from headwater.capture.autograd import own_gradients
from headwater.capture.borrowed import refuse_train_mode
from headwater.capture.completeness import OTHER_SCALES, disagreements, random_weights
from headwater.capture.detached import refuse_detached
from headwater.capture.doubts import Doubts
from headwater.capture.fallback import Fallback
from headwater.capture.freezing import Freezing
from headwater.capture.independence import refuse_changing
from headwater.capture.layer_call import LayerCall, NotPerExample
from headwater.capture.learned import Learned
from headwater.capture.nonfinite import refuse_non_finite
from headwater.capture.plan import Plan, PlanChanged, listed
from headwater.capture.precision import held_dtype
from headwater.capture.recording import Record, Recorder
from headwater.capture.selection import selected
from headwater.distributed import Gathered, own_part
from headwater.errors import CaptureError
from headwater.forms import Form, Gradients, Materialised
from headwater.forms.add import add
from headwater.tasks.out_of_memory import ran_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from headwater.distributed import Together
    from headwater.forms.gradients import Block
    from headwater.forms.shared_inputs import SharedInputs
    from headwater.tasks import Task


class Capture:
    """Per-example gradients of the selected parameters, at the model's present weights.

    Works within `borrowed(model)` and `attached()`. Losses are summed over the batch, so the
    gradient of the sum at a layer's output holds each example's own; autograd is asked for those
    alone, and the weight gradients of the batch, a third of a training step, are never computed.

    A model whose parameters are sharded gathers them by its own hooks, so that all ranks have to
    capture the same batches in step; that is what it takes for them to come to the same plan.
    """

    def __init__(self, model: nn.Module, selection: tuple[str, ...]) -> None:
        self.model = model
        self.selection = selection
        self._plan = Plan(model, selection)
        self._gathered = Gathered(model, selection)
        self._fallback = Fallback(model, self._gathered)
        self._recorder = Recorder()
        self._freezing = Freezing(model, selection)
        self._like = torch.empty(0)
        # Set by whoever has looked at a batch with `cuts_into_examples`.
        self.batches_can_be_cut = False
        # Where ranks that go through a sharded model in step have a batch each.
        self.abreast: Together | None = None
        self.doubts = Doubts(model)
        # Whether a check has met a gradient that isn't zero.
        self.seen_gradients = False
        # Nothing is frozen yet: it may be made before the model is borrowed.
        self._find_weights()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within, the layers are recorded and exactly the selected parameters require grad."""
        plan = self._plan
        recording = self._recorder.attached(plan.ruled_modules(), plan.stand_ins(), plan.is_wanted)
        with self._gathered.attached(), recording:
            self._freezing.freeze_the_rest(self._parameters)
            # Said where a recomputed layer has nothing but frozen parameters in front of it.
            with catch_warnings():
                filterwarnings("ignore", message="None of the inputs have requires_grad=True")
                yield

    def weights_changed(self) -> None:
        """To be called after a checkpoint was loaded.

        Raises:
            ModelError: selected parameters are an adapter's that is merged or disabled, or gone.
        """
        self._find_weights()
        self._freezing.freeze_the_rest(self._parameters)

    def _find_weights(self) -> None:
        refuse_inactive(self.model, self.selection)
        self._gathered.reshard()
        # A loader may put new parameters in the place of the old.
        self._parameters = dict(self.model.named_parameters())
        weights = (*self._parameters.values(), *self.model.buffers())
        self._recorder.overwritten = {own_part(w).untyped_storage().data_ptr() for w in weights}
        chosen = selected(self._parameters, self.selection)
        self._like = torch.empty(0, dtype=held_dtype(chosen), device=chosen[0].device)

    @property
    def fallback_numbers(self) -> int:
        """How many numbers of each example's gradient the fallback writes out."""
        return sum(self._parameters[name].numel() for name in self._plan.fallback)

    @property
    def fallback(self) -> dict[str, str]:
        """By name of the parameters that no rule fits, the way in which they are captured."""
        names = [name for name in self.selection if name in self._plan.fallback]
        return dict.fromkeys(names, self._fallback.way)

    @property
    def learned(self) -> Learned:
        """What batches have shown of how this model has to be captured."""
        names = {module: name for name, module in self.model.named_modules()}
        return Learned(
            fallback=frozenset(self._plan.fallback),
            way=self._fallback.way_number,
            spread=frozenset(names[module] for module in self._recorder.spread),
            copied=frozenset(names[module] for module in self._recorder.copied),
            doubts=frozenset(self.doubts.confirmed),
        )

    def learn(self, learned: Learned) -> None:
        """Takes over what another capture of the same model has met."""
        self._plan.add_to_fallback(learned.fallback)
        self._fallback.way_number = max(self._fallback.way_number, learned.way)
        self.doubts.confirm(learned.doubts)
        recorder = self._recorder
        for own, names in ((recorder.spread, learned.spread), (recorder.copied, learned.copied)):
            own.update(self.model.get_submodule(name) for name in names)

    @contextmanager
    def trying(self, size: int | None) -> Iterator[None]:
        """Within, the model computes as it does for a batch that is captured, for nothing.

        Raises:
            PlanChanged: it can't; to be tried again.
        """
        try:
            with self._recorder.listening(size):
                yield
        except RuntimeError as error:
            change = self._plan.without_stand_ins(error)
            if change is None:
                raise
            raise change from error
        finally:
            self._recorder.records = []

    def gradients(self, task: Task, batch: Any, shared: SharedInputs | None = None) -> Gradients:
        """The batch's per-example gradients.

        Args:
            shared: what other checkpoints have made of the batch's inputs.

        Raises:
            PlanChanged: a layer turned out not to fit its rule and goes through the fallback from
                now on; capture this batch again, and what came before it.
        """
        captured = None
        while captured is None:
            self._gathered.trail = []
            try:
                with nullcontext() if self.abreast is None else suppress(PlanChanged):
                    captured = self._by_rules(task, batch, shared)
            finally:
                self._gathered.reshard()
            if self.abreast is not None:
                refuse_changes(self.abreast, self._gathered.trail, changed=captured is None)
        forms, size = captured
        fallback = [name for name in self.selection if name in self._plan.fallback]
        if fallback:
            with self._freezing.as_found(self._parameters):
                found = self._fallback.gradients(fallback, task, batch, size)
            for name in fallback:
                forms[(name,)] = Materialised(found[name].to(self._like.dtype))
        return Gradients(forms, size, self._like)

    def step(self) -> AbstractContextManager[None]:
        """Around work on a batch that may fail: where ranks have a batch each, all learn of it."""
        return nullcontext() if self.abreast is None else self.abreast.step()

    def check(self, captured: Gradients, task: Task, batch: Any, *, first: int, kind: str) -> None:
        """Holds captured gradients of a batch against autograd, with a random weight per example.

        The reference is a pass of its own, on the model as the user has it: no hooks listen, no
        parameter is frozen that wasn't.

        Args:
            first: the index of the batch's first example, for messages.
            kind: "training example" or "query", for messages.

        Raises:
            PlanChanged: some parameters disagree and go through the fallback from now on.
            CaptureError: a parameter that disagrees has been through every fallback.
            ModelError: the forward pass forces train mode, losses don't depend on parameters, or
                they are others at every call.
        """
        with self.step():
            refuse_non_finite(captured, first=first, kind=kind)
        weights = random_weights(captured.batch_size, self._like)
        chosen = {name: self._parameters[name] for name in self.selection}
        seen: list[Tensor] = []

        def loss(scale: float) -> Tensor:
            losses = task.losses(self.model, batch)
            seen.append(losses.detach())
            return (losses * weights.to(losses.dtype)).sum() * scale

        def by_autograd(scale: float) -> dict[str, Tensor]:
            with self._freezing.as_found(self._parameters):
                return own_gradients(partial(loss, scale), chosen, self._gathered, whole=False)

        expected = by_autograd(1)
        refuse_train_mode(self.model)
        sizes = {name: parameter.numel() for name, parameter in chosen.items()}
        disagreeing = partial(
            disagreements, captured, expected, weights, sizes=sizes, part=self._gathered.own
        )
        # Ranks look at different parts, and have to go on in the same way.
        if not self.seen_gradients:
            some = {"": 1.0} if any(bool(g.count_nonzero()) for g in expected.values()) else {}
            self.seen_gradients = bool(self._gathered.agreed(some))
        wrong = self._gathered.agreed(disagreeing())
        rescaled: list[dict[str, Tensor]] = []
        for scale in OTHER_SCALES:
            if not wrong:
                break
            again = by_autograd(scale)
            # What a second pass says otherwise is rounding only if it was the same pass.
            refuse_changing(seen, task.rounds_to)
            rescaled.append({name: gradient / scale for name, gradient in again.items()})
            wrong = self._gathered.agreed(disagreeing(rescaled))
        if not wrong:
            return
        self.doubts.confirm(site for site, _ in self.doubts.about_the_last_batch)
        ruled = [name for name in wrong if name not in self._plan.fallback]
        owners = {self._plan.owner(name) for name in ruled}
        shared = self._recorder.looked_up_for_all(owners, captured.batch_size)
        if shared:
            self._recorder.spread.update(shared)
            raise self._plan.changed(ruled)
        if ruled:
            raise self._plan.move_to_fallback(ruled, "its layer's rule disagrees with autograd")
        worst = max(wrong, key=wrong.__getitem__)
        reason = f"{worst} disagrees with autograd by {wrong[worst]:.1e}"
        if self._fallback.next_way(reason, cut_is_right=self.batches_can_be_cut):
            raise self._plan.move_to_fallback(wrong, reason)
        raise CaptureError(
            f"the gradients of single examples don't add up to the gradient of their sum: {reason} "
            f"({listed(list(wrong))}). An example's loss then depends on the rest of its batch: "
            f"statistics of the batch, a loss normalised over it, an embedding with "
            f"scale_grad_by_freq, or something that the model keeps. With batch_size=1 each "
            f"example is its own batch"
        )

    def refuse_detached(self, task: Task, batch: Any) -> None:
        """Raises ModelError if the losses depend on no parameter at all, selected or not.

        Where a check has met a gradient they do, and nothing is asked.
        """
        if self.seen_gradients:
            return
        try:
            refuse_detached(self.model, self._parameters.values(), task, batch)
        finally:
            self._gathered.reshard()

    def _by_rules(
        self, task: Task, batch: Any, shared: SharedInputs | None
    ) -> tuple[dict[Block, Form], int] | None:
        """Forms of all that isn't left to the fallback; None if it has to be tried again."""
        try:
            with self._recorder.listening(task.size(batch)):
                total, size = task.summed(self.model, batch)
        except Exception as error:
            change = None if ran_out_of_memory(error) else self._another_way(error)
            if change is None:
                raise
            raise change from error
        # The plan may have taken all that a recorded layer holds to the fallback.
        records = [r for r in self._recorder.records if self._plan.wanted(r.module)]
        recorded = {name for r in records for name in self._plan.wanted(r.module).values()}
        self.doubts.look(total, records, batch, size)
        # What no layer called for must have no gradient; autograd is asked for it, at no cost.
        silent = [n for n in self.selection if n not in recorded and n not in self._plan.fallback]
        edges = [edge for record in records for edge in record.edges]
        leaves = self._gathered.leaves({name: self._parameters[name] for name in silent})
        silent = [name for name in silent if name in leaves]
        # mypy: autograd takes edges and tensors side by side, though its annotation has no union.
        asked: list[Any] = [*edges, *leaves.values()]
        if not asked or not total.requires_grad:
            return {}, size
        try:
            grads = torch.autograd.grad(total, asked, allow_unused=True)
        except RuntimeError as error:
            change = self._plan.without_stand_ins(error)
            if change is not None:
                raise change from error
            if "checkpoint" not in str(error).lower():
                raise
            ruled = [name for name in self.selection if name not in self._plan.fallback]
            self._gathered.reshard()
            reason = "reentrant activation checkpointing hides the layers inside it"
            raise self._plan.move_to_fallback(ruled, reason) from error
        missed = [
            name
            for name, grad in zip(silent, grads[len(edges) :], strict=True)
            if grad is not None and bool(grad.count_nonzero() if not grad.is_sparse else True)
        ]
        if missed:
            raise self._plan.move_to_fallback(missed, "used outside of its layer's forward")
        uses: dict[Block, list[Form]] = {}
        start = 0
        for record in records:
            stop = start + len(record.edges)
            output_grads, start = grads[start:stop], stop
            if all(grad is None or not grad.numel() for grad in output_grads):
                if record.view and record.module not in self._recorder.copied:
                    # Written to in place, perhaps: a copy's edge survives that, a view's doesn't.
                    self._recorder.copied.add(record.module)
                    return None
                continue
            for block, form in self._apply_rule(record, output_grads, size, shared).items():
                uses.setdefault(block, []).append(form)
        return {block: add(forms) for block, forms in uses.items()}, size

    def _apply_rule(
        self,
        record: Record,
        output_grads: tuple[Tensor | None, ...],
        size: int,
        shared: SharedInputs | None,
    ) -> dict[Block, Form]:
        wanted = self._plan.wanted(record.module)
        call = LayerCall(
            record.module, record.args, record.kwargs, output_grads, size, frozenset(wanted), shared
        )
        try:
            if not record.inputs_unchanged():
                raise NotPerExample("its input was written to in place afterwards")
            rule = record.rule or self._plan.rule(record.module)
            return self._named(record.module, rule(call), wanted, size)
        except NotPerExample as reason:
            if self._recorder.can_be_spread(record.module, record.args, size):
                self._recorder.spread.add(record.module)
                raise self._plan.changed(wanted.values()) from reason
            raise self._plan.move_to_fallback(wanted.values(), str(reason)) from reason

    def _another_way(self, error: Exception) -> PlanChanged | None:
        """What to raise after a forward pass that failed, where capturing may be why."""
        if not self._recorder.spread:
            return self._plan.without_stand_ins(error)
        # A model that can't go on with an output once per example; or its own error, which will
        # come again.
        names = {
            name for module in self._recorder.spread for name in self._plan.wanted(module).values()
        }
        self._recorder.spread.clear()
        return self._plan.move_to_fallback(names, str(error))

    def _named(
        self,
        module: nn.Module,
        found: Mapping[Any, Form | Tensor],
        wanted: dict[str, str],
        size: int,
    ) -> dict[Block, Form]:
        """A rule's answer with full names, tied parameters in blocks of their own.

        A rule may know more of its layer than was asked for; the rest is left out.
        """
        forms: dict[Block, Form] = {}
        for key, value in found.items():
            names = (key,) if isinstance(key, str) else tuple(key)
            own = {name: module._parameters.get(name) for name in names}
            sizes = [parameter.numel() for parameter in own.values() if parameter is not None]
            if len(sizes) < len(names):
                missing = next(name for name, parameter in own.items() if parameter is None)
                raise NotPerExample(f"its rule speaks of {missing!r}, no parameter of the layer")
            form = Materialised(value.flatten(1)) if isinstance(value, Tensor) else value
            if form.batch_size != size:
                raise NotPerExample(
                    f"the rule gave {form.batch_size} gradients for {size} examples"
                )
            block = tuple(wanted[name] for name in names if name in wanted)
            whole = len(block) == len(names)
            if whole and (len(block) == 1 or self._plan.shared.isdisjoint(block)):
                forms[block] = form
            elif block:
                parts = zip(names, form.split(sizes), strict=True)
                forms.update({(wanted[name],): part for name, part in parts if name in wanted})
        return forms
