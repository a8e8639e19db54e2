"""The benchmark of TRAK measures what it says, on few examples."""

import torch
from torch import nn

from benchmarks.trak import headwater_scores, rank_correlation, without_projection
from tests.estimators.small import labels, rows

DIM = 512


def test_scores_tend_to_those_without_a_projection():
    training = rows(12, 1, 6).float(), labels(12, 2)
    queries = rows(3, 3, 6).float(), labels(3, 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
    exact, damping = without_projection(net, training, queries, 8)
    found = headwater_scores(net, training, queries, DIM, damping)
    torch.testing.assert_close(found.double(), exact, rtol=0.2, atol=0.1)
    assert rank_correlation(found, exact) > 0.9


def test_rank_correlation_is_spearmans_by_row():
    left = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    right = torch.tensor([[10.0, 20.0, 40.0], [3.0, 2.0, 1.0]])
    assert abs(rank_correlation(left, right)) < 1e-12
    assert rank_correlation(left[:1], right[:1]) > 1 - 1e-12
