"""Queries in whole batches, and their sum, equal the oracle in every order of the loops."""

import pytest
import torch

from headwater.engine import OneBatch, PairScores, SummedScores, WholeBatches
from tests.estimators.small import assert_close, expected_scores, labels, make, rows, singles
from tests.oracles import tracin

from .test_loop_orders import BUDGETS

BATCHES = [(rows(size, 30 + size, 5), labels(size, 40 + size)) for size in (1, 3, 2)]


@pytest.fixture(scope="module")
def expected():
    """Scores of the batches' queries, one after the other."""
    inputs, targets = (torch.cat(parts) for parts in zip(*BATCHES, strict=True))
    return expected_scores(queries=singles(inputs, targets))


def whole(parts):
    return WholeBatches(parts.task, [(batch, len(batch[1])) for batch in BATCHES])


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_whole_batches_are_one_query_after_the_other(budget, expected):
    parts = make(memory_budget=budget)._streamed
    assert_close(parts.all_of(lambda: PairScores(whole(parts)), show_progress=False), expected)
    top = parts.k_most_of(
        lambda: PairScores(whole(parts)), k=2, side="opponents", show_progress=False
    )
    assert torch.equal(top.indices, tracin.top_k(expected, 2, proponents=False)[0])


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_a_sum_of_queries_has_the_sum_of_their_scores(budget, expected):
    parts = make(memory_budget=budget, batch_size=2)._streamed
    total = expected.sum(dim=0, keepdim=True)
    assert_close(parts.all_of(lambda: SummedScores(whole(parts)), show_progress=False), total)
    joined = tuple(torch.cat(column) for column in zip(*BATCHES, strict=True))
    top = parts.k_most_of(
        lambda: SummedScores(OneBatch(parts.task, joined, len(joined[1]))),
        k=3,
        side="proponents",
        show_progress=False,
    )
    indices, scores = tracin.top_k(total, 3)
    assert torch.equal(top.indices, indices)
    assert_close(top.influence_scores, scores)
