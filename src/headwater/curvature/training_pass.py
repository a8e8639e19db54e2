"""Passes over the training data that curvature is fitted in."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from headwater.capture import Capture, PlanChanged
from headwater.curvature.sampled_task import SampledTask
from headwater.distributed import StartAnew, Together, Turns, is_sharded, lost_rank
from headwater.engine.fingerprint import data_fingerprint, weights_digest
from headwater.engine.session import Session
from headwater.errors import RankError
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import torch
    from torch import nn

    from headwater.checkpoints import BoundSeries
    from headwater.distributed import Ranks
    from headwater.engine import TrainingData
    from headwater.forms import Gradients
    from headwater.tasks import Task


class OtherKind(Exception):
    """A block's gradients changed their form from one batch to another: begin anew."""


# Enough examples to notice another dataset, or the same one in another order.
_SAMPLE = 16


@dataclass
class TrainingPass:
    """A model at one checkpoint or several, its training data, and what is differentiated.

    Attributes:
        net: the borrowed model.
        selection: the names of the parameters that count.
        series: the checkpoints that curvature is averaged over.
        data: the training examples.
        task: what is differentiated for one.
        budget: bytes to be used beyond the model and one batch.
        loss: the name of the loss, for files.
        name: the estimator's name, for progress bars.
        show_progress: whether there are any.
        fingerprint: of the training data, where that itself isn't at hand.
    """

    net: nn.Module
    selection: tuple[str, ...]
    series: BoundSeries
    data: TrainingData
    task: Task
    budget: int
    loss: str
    name: str
    show_progress: bool
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        # One for all passes, so that what one learns of the model the next one knows.
        self._capture = Capture(self.net, self.selection)
        self._batch_size = 0

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """The shape of every selected parameter, in order."""
        parameters = dict(self.net.named_parameters())
        return {name: parameters[name].shape for name in self.selection}

    def binding(self) -> dict[str, Any]:
        """By field, what curvature depends on; loads every checkpoint once."""
        with closing(self.series.visit()) as visits:
            digests = [weights_digest(self.net) for _ in visits]
        data = self.fingerprint
        if data is None:
            data = data_fingerprint(self.data.count, self.data.spread(_SAMPLE))
        return {
            "checkpoints": digests,
            "selection": list(self.selection),
            "shapes": [list(shape) for shape in self.shapes.values()],
            "loss": self.loss,
            "data": data,
        }

    def gradients(
        self,
        task: Task,
        use: Callable[[Gradients], None],
        *,
        stage: str,
        ranks: Ranks | None = None,
    ) -> int:
        """Hands on every training example's gradients at every checkpoint, batch by batch.

        Args:
            task: what is differentiated: the training task itself, or a `SampledTask` around it.
            use: takes a batch's gradients.
            stage: what the pass is for, for the progress bar.
            ranks: the processes that the batches are dealt out to; None: this one alone.

        Returns:
            how many gradients this process had; of all together, N times the number of checkpoints.

        Raises:
            PlanChanged: a layer is captured in another way from now on: begin anew.
            StartAnew: so it is on another rank.
            RankError: another rank failed or died.
        """
        if ranks is None:
            return self._gradients(task, use, stage, None)
        if is_sharded(self.net):
            return self._in_step(task, use, stage, ranks)
        turns = Turns(ranks)
        try:
            return self._gradients(task, use, stage, turns)
        except (RankError, StartAnew):
            raise
        except (PlanChanged, OtherKind):
            turns.start_anew()
            raise
        except Exception as error:
            turns.fail(error)
            raise

    def same_plan(self, ranks: Ranks) -> bool:
        """Whether all ranks capture parameters in the same way; from now on they do."""
        found = ranks.gathered_object(self._capture.learned)
        for learned in found:
            self._capture.learn(learned)
        return all(learned == self._capture.learned for learned in found)

    def _gradients(
        self, task: Task, use: Callable[[Gradients], None], stage: str, turns: Turns | None
    ) -> int:
        count = 0
        with self._begun(stage, turns) as (session, bar):
            for start, batch in self._all(session, bar, turns):
                if turns is not None:
                    # What is drawn for an example belongs to its place, which batches of unequal
                    # size don't tell by their number.
                    start = turns.place(self._size(batch))
                found = self._of_batch(session, task, batch, start)
                use(found)
                count += found.batch_size
        return count

    def _in_step(
        self, task: Task, use: Callable[[Gradients], None], stage: str, ranks: Ranks
    ) -> int:
        """A sharded model's: a batch each where there is one for all, of the rest all compute all.

        The first rank uses what all compute.
        """
        together = Together(ranks)
        count = 0
        with lost_rank(ranks), self._begun(stage, None, together) as (session, bar):
            try:
                for start, batch in self._all(session, bar, None):
                    found = self._of_batch(session, task, batch, start)
                    is_own = session.is_dealt(start) or not ranks.rank
                    with together.step():
                        try:
                            if is_own:
                                use(found)
                                count += found.batch_size
                        except OtherKind as kind:
                            together.start_anew(None)
                            raise StartAnew from kind
            except PlanChanged:
                self.same_plan(ranks)
                raise
        return count

    def _of_batch(self, session: Session, task: Task, batch: Any, start: int) -> Gradients:
        if isinstance(task, SampledTask):
            device = next(self.net.parameters()).device
            batch = task.numbered(batch, start, self._size(batch), device)
        return session.checked(task, batch, first=start, kind="training example")

    def batches(self, *, stage: str) -> Generator[tuple[int, Any], None, None]:
        """Every batch with the place of its first example, at every checkpoint in turn.

        Within, exactly the selected parameters require grad.

        Args:
            stage: what the pass is for, for the progress bar.
        """
        with self._begun(stage, None) as (session, bar):
            yield from self._all(session, bar, None)

    def again(self) -> Generator[Any, None, None]:
        """Every batch, at the model's present weights: those of the pass before, or of a run."""
        device = next(self.net.parameters()).device
        for batch in self.data.batches(self._batch_size or self.data.batch_size or 64):
            yield borrow(batch, device)

    @contextmanager
    def _begun(
        self, stage: str, turns: Turns | None, in_step: Together | None = None
    ) -> Iterator[tuple[Session, Any]]:
        # What follows from it has to be the same on ranks that share weights.
        budget = self.budget if in_step is None else min(in_step.told(self.budget))
        session = Session(
            self.net,
            self._capture,
            self.data,
            self.task,
            projection=None,
            budget=budget // 4,
            kind="training example",
            ranks=turns,
            in_step=in_step,
        )
        bar = tqdm(
            desc=f"{self.name}: {stage}", unit="batch", disable=not self.show_progress, leave=False
        )
        with self._capture.attached(), bar:
            yield session, bar

    def _all(self, session: Session, bar: Any, turns: Turns | None) -> Iterator[tuple[int, Any]]:
        begun = False
        with closing(self.series.visit()) as visits:
            while session.next(visits) is not None:
                batches = session.batches() if begun else session.begin(extra_numbers=0)
                if not begun:
                    session.deal_out()
                self._batch_size = session.batch_size
                for place in batches:
                    yield place
                    bar.update()
                if turns is not None:
                    turns.finish()
                begun = True

    def _size(self, batch: Any) -> int:
        size = self.task.size(batch)
        return self.task.summed(self.net, batch).size if size is None else size
