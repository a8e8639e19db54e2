"""A case cut down: fewer examples, fewer checkpoints, everything else the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.workloads import Case


def with_training(case: Case, count: int) -> Case:
    """The first so many training examples."""
    return replace(case, training=(case.training[0][:count], case.training[1][:count]))


def with_queries(case: Case, count: int) -> Case:
    """The first so many queries."""
    return replace(case, queries=(case.queries[0][:count], case.queries[1][:count]))


def first_checkpoint(case: Case) -> Case:
    """The first checkpoint only."""
    return replace(case, states=case.states[:1], workload=replace(case.workload, checkpoints=1))
