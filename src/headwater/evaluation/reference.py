"""A training run by a recipe, recorded, for methods to explain."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.checkpoints import CheckpointRecorder, CheckpointSeries
from headwater.evaluation.trained_run import TrainedRun
from headwater.replay import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import torch
    from torch import nn

    from headwater.evaluation.by_recipe import RecipeRetraining

_RECORDED_PER_CHECKPOINT = 4


@contextmanager
def reference_run(
    retraining: RecipeRetraining,
    *,
    seed: int = 0,
    checkpoints: int = 10,
    others: int = 0,
    folder: Path | None = None,
    **known: Any,
) -> Iterator[TrainedRun]:
    """Trains on all data and yields the run; its recording is there as long as the block lasts.

    Checkpoints are taken where the training loss falls. Under momentum they are weighed by the
    rate that counts it.

    Args:
        retraining: how, and on what.
        seed: of the run.
        checkpoints: how many to take.
        others: how many further runs to train, with other seeds, without recording them.
        folder: where the recording is kept; None for a temporary one.
        known: further attributes of the `TrainedRun`.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) / "recording" if folder is None else folder
        steps = retraining.recipe.steps(retraining.count)
        every = max(1, steps // (_RECORDED_PER_CHECKPOINT * checkpoints))

        def recording(
            model: nn.Module, optimizer: torch.optim.Optimizer
        ) -> AbstractContextManager[Any]:
            return CheckpointRecorder(
                place, model, optimizer, every=every, moments=True, overwrite=True
            )

        model = retraining.train(retraining.whole(seed), watch=recording)
        momentum = retraining.recipe.settings.get("momentum", 0)
        effective = retraining.recipe.optimizer == "sgd" and momentum
        series = CheckpointSeries.open(place, rates="effective" if effective else "recorded")
        runs = [retraining.whole(seed + 1 + number) for number in range(others)]
        trained = [retraining.states([run]) for run in runs]
        yield TrainedRun(
            model=model.eval(),
            train_dataset=retraining.dataset,
            checkpoints=series.recommend(checkpoints),
            loss_fn=retraining.objective.loss_fn,
            task=retraining.task,
            final=[({name: t.detach().clone() for name, t in model.state_dict().items()}, 1.0)],
            others=[[({name: state[0] for name, state in one.items()}, 1.0)] for one in trained],
            options={} if retraining.collate_fn is None else {"collate_fn": retraining.collate_fn},
            replay=lambda: TrainingRun.open(
                place,
                retraining.initial(seed),
                retraining.dataset,
                retraining.objective.loss_fn,
                task=retraining.task,
                reduction="mean",
                collate_fn=retraining.collate_fn,
                max_grad_norm=retraining.recipe.clip_norm,
            ),
            seed=seed,
            **known,
        )
