"""Does the model change its mind without the training examples that scores name?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import InputError
from headwater.evaluation.in_memory import InMemory
from headwater.evaluation.leaving_out import measured_after
from headwater.evaluation.run import Run
from headwater.evaluation.scores_given import Axes, scores_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.evaluation.retraining import Retraining

RANDOM, SAME_CLASS = "random removal", "random removal, same class"


@dataclass(frozen=True)
class RemovalCurve:
    """What the removal of each query's strongest proponents did, by method and number removed.

    Attributes:
        removed: how many training examples were removed, ascending.
        rise: by method, the mean rise of the query's loss, one number per entry of `removed`.
        flipped: by method, the share of queries whose prediction was right and is wrong then, among
            those that were right; None where queries have no classes.
    """

    removed: list[int]
    rise: dict[str, list[float]]
    flipped: dict[str, list[float]] | None


def removal_curve(
    retraining: Retraining,
    queries: Any,
    methods: Mapping[str, Any],
    *,
    removed: Sequence[int] = (10, 50, 200),
    seeds: Sequence[int] = (0, 1, 2),
    axes: Axes = "QN",
) -> RemovalCurve:
    """Removes each query's strongest proponents and trains again, in runs otherwise the same.

    Beside the methods stand random removal, and random removal among training examples of the
    query's class where targets are classes. Takes Q * (methods + 2) * numbers * seeds runs, so it
    is for a few queries.

    Args:
        retraining: how a model is trained.
        queries: a Dataset, or a batch.
        methods: by name, scores of the queries.
        removed: how many training examples to remove, each number in runs of its own.
        seeds: of the runs.
        axes: how arrays of scores are laid out.

    Raises:
        InputError: scores don't fit, or more are to be removed than there are.
    """
    numbers = sorted(set(removed))
    if not numbers or not seeds or not 0 < numbers[0] <= numbers[-1] < retraining.count:
        raise InputError(
            f"removed is {list(removed)} and seeds {list(seeds)}; expected numbers of at least 1 "
            f"and fewer than the {retraining.count} training examples, and a seed"
        )
    asked = InMemory(queries, retraining.collate_fn, name="queries")
    orders = {
        name: scores_matrix(
            scores, queries=asked.count, examples=retraining.count, axes=axes
        ).argsort(dim=1, descending=True, stable=True)
        for name, scores in methods.items()
    }
    orders.update(_baselines(retraining, asked))
    everything = torch.arange(retraining.count)
    rises: dict[str, list[Tensor]] = {name: [] for name in orders}
    flips: dict[str, list[Tensor]] = {name: [] for name in orders}
    classes = False
    for seed in seeds:
        places = [
            (name, query, number)
            for name in orders
            for query in range(asked.count)
            for number in numbers
            if number <= int((orders[name][query] >= 0).sum())
        ]
        runs = [
            Run(everything, seed),
            *(
                Run(everything, seed, orders[name][query][:number])
                for name, query, number in places
            ),
        ]
        measured = measured_after(retraining, runs, asked)
        for name in orders:
            of_name = torch.full((2, len(numbers), asked.count), torch.nan, dtype=torch.float64)
            for row, (other, query, number) in enumerate(places, start=1):
                if other != name:
                    continue
                column = numbers.index(number)
                loss = measured["loss"]
                of_name[0, column, query] = loss[row, query] - loss[0, query]
                if "right" in measured and bool(measured["right"][0, query]):
                    of_name[1, column, query] = 1 - measured["right"][row, query]
            rises[name].append(of_name[0])
            flips[name].append(of_name[1])
        classes = "right" in measured
    return RemovalCurve(
        numbers,
        {name: _means(some) for name, some in rises.items()},
        {name: _means(some) for name, some in flips.items()} if classes else None,
    )


def _baselines(retraining: Retraining, queries: InMemory) -> dict[str, Tensor]:
    """By name, orders of training examples per query; -1 where there are no more."""
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.stack(
        [torch.randperm(retraining.count, generator=generator) for _ in range(queries.count)]
    )
    found = {RANDOM: shuffled}
    try:
        labels, asked = retraining.data.targets(), queries.targets()
    except InputError:
        return found
    if labels.dim() == asked.dim() == 1 and labels.dtype == asked.dtype == torch.int64:
        same = labels[shuffled] == asked[:, None]
        # A stable sort keeps the random order within each part.
        order = (~same).long().argsort(dim=1, stable=True)
        kept = torch.arange(retraining.count) < same.sum(dim=1, keepdim=True)
        found[SAME_CLASS] = shuffled.gather(1, order).where(kept, torch.tensor(-1))
    return found


def _means(seeds: list[Float[Tensor, "X Q"]]) -> list[float]:
    return [float(value) for value in torch.stack(seeds).nanmean(dim=(0, 2))]
