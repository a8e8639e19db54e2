"""Measures against numbers computed by hand, by scikit-learn and by scipy."""

import math
import random

import pytest
import torch

from headwater import InputError, KMostInfluentialResults, NonFiniteError
from headwater.evaluation import (
    agreement_of_seeds,
    detection,
    flip_labels,
    mean_reciprocal_rank,
    noise_ceiling,
    recall_at_k,
    scores_matrix,
)
from headwater.evaluation.lds import bootstrap, sums_over_subsets
from headwater.evaluation.ranks import Ranked, pearson, spearman


def test_rank_correlation_by_hand_with_ties():
    # Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: the correlation is 4.5 / sqrt(4.5 * 5).
    found = spearman(torch.tensor([[1.0, 2, 2, 7]]), torch.tensor([[0.1, 0.3, 0.2, 9]]))
    assert found.tolist() == pytest.approx([4.5 / math.sqrt(4.5 * 5)])
    assert spearman(torch.ones(1, 4), torch.rand(1, 4)).tolist() == [0]


def test_rank_correlation_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(6, (5, 30), generator=generator).double()
    right = left + torch.randint(9, (5, 30), generator=generator)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(left, right, strict=True)]
    assert spearman(left, right).tolist() == pytest.approx(expected)


def test_ranks_under_counts_are_those_of_copies():
    values = torch.tensor([[3.0, 1, 3, 2, 5]])
    counts = torch.tensor([2.0, 0, 1, 3, 1])
    copies = [value for value, n in zip(values[0], counts, strict=True) for _ in range(int(n))]
    ordered = sorted(copies)
    for place, value in enumerate(values[0]):
        if counts[place]:
            of_equal = [rank for rank, other in enumerate(ordered, 1) if other == value]
            assert Ranked(values).ranks(counts)[0, place] == sum(of_equal) / len(of_equal)
    repeated = torch.repeat_interleave(values, counts.long(), dim=1)
    other = torch.tensor([[0.0, 4, 2, 9, 1]])
    repeated_other = torch.repeat_interleave(other, counts.long(), dim=1)
    found = pearson(Ranked(values).ranks(counts), Ranked(other).ranks(counts), counts)
    assert found.tolist() == pytest.approx(spearman(repeated, repeated_other).tolist())


def test_sums_over_subsets_by_hand():
    scores = torch.tensor([[1.0, 2, 4], [0.1, 0.2, -0.3]], dtype=torch.float64)
    membership = torch.tensor([[True, False, True], [True, True, True]])
    sums = sums_over_subsets(scores, membership)
    assert sums[0].tolist() == pytest.approx([5, 7])
    # 0.1 + 0.2 - 0.3 is not 0 in floating point, and would be ranked by its rounding.
    assert sums[1].tolist() == [pytest.approx(-0.2), 0]


def test_the_noise_ceiling_by_hand():
    first = torch.tensor([[1.0], [2], [3], [4]])
    second = torch.tensor([[1.0], [3], [2], [4]])
    # Spearman's rho is 0.8; of the mean of two runs 1.6 / 1.8.
    measured = torch.stack([first, second])
    assert agreement_of_seeds(measured) == pytest.approx(0.8)
    assert noise_ceiling(measured) == pytest.approx(math.sqrt(1.6 / 1.8))
    assert noise_ceiling(measured[:1]) is None
    assert noise_ceiling(torch.stack([first, -first])) == 0


def simulated(rows, subsets, noise, generator, truth):
    """Predictions that know a part of what is measured, with parts that queries share."""
    signal = truth[:rows] @ torch.randn(truth.shape[1], subsets, generator=generator)
    shared = torch.randn(1, subsets, generator=generator)
    error = torch.randn(rows, subsets, generator=generator)
    return signal.double(), (signal + noise * (error + shared)).double()


def test_the_noise_ceiling_is_what_perfect_predictions_reach():
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(40, 5, generator=generator)
    signal, _ = simulated(40, 400, 0.0, generator, truth)
    runs = [signal + 2 * torch.randn(signal.shape, generator=generator) for _ in range(2)]
    measured = torch.stack([run.mT for run in runs])
    reached = float(spearman(signal, torch.stack(runs).mean(dim=0)).mean())
    assert noise_ceiling(measured) == pytest.approx(reached, abs=0.03)
    single = float(spearman(signal, runs[0]).mean())
    assert agreement_of_seeds(measured) ** 0.5 == pytest.approx(single, abs=0.03)


def test_intervals_cover_the_true_value_about_as_often_as_they_say():
    generator = torch.Generator().manual_seed(2)
    population = torch.randn(600, 3, generator=generator)
    left, right = simulated(600, 2000, 1.5, generator, population)
    true = float(spearman(left[:300], right[:300]).mean())
    covered, widths, rounds = 0, [], 40
    for number in range(rounds):
        drawn = torch.randperm(600, generator=generator)[:25]
        predicted, actual = simulated(25, 30, 1.5, generator, population[drawn])
        low, high = bootstrap(predicted, actual, seed=number, resamples=120)
        covered += low <= true <= high
        widths.append(high - low)
    # 95 % of 40 are 38; fewer than 33 come about in 1 of 100.
    assert covered >= 33
    # An interval over queries alone would be far narrower than the noise that queries share.
    assert 0.1 < sum(widths) / rounds < 0.6


def test_detection_by_hand():
    suspicion = [9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    wrong = torch.tensor([1, 0, 1, 0, 0, 0, 0, 0, 0, 0]).bool()
    found = detection(suspicion, wrong)
    # Of 16 pairs the second wrong label loses one; precisions are 1 and 2/3.
    assert found.auroc == pytest.approx(15 / 16)
    assert detection(suspicion, wrong.tolist()) == detection(suspicion, wrong.numpy()) == found
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert found.found_at_10 == 0.5
    assert found.found_at_20 == 0.5


def test_detection_is_that_of_sklearn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(3)
    wrong = torch.rand(200, generator=generator) < 0.1
    suspicion = torch.randn(200, generator=generator).double() + wrong
    found = detection(suspicion, wrong)
    assert found.auroc == pytest.approx(metrics.roc_auc_score(wrong, suspicion))
    expected = metrics.average_precision_score(wrong, suspicion)
    assert found.average_precision == pytest.approx(expected)
    assert detection(torch.zeros(200), wrong).auroc == 0.5


def test_flipped_labels_are_wrong_and_as_many_as_asked_for():
    labels = torch.arange(1000) % 4
    noisy = flip_labels(labels, share=0.3, seed=5)
    assert int(noisy.flipped.sum()) == 300
    assert torch.equal(noisy.labels != labels, noisy.flipped)
    moved = (noisy.labels - labels)[noisy.flipped] % 4
    assert torch.bincount(moved, minlength=4)[1:].min() > 70
    assert torch.equal(flip_labels(labels, share=0.3, seed=5).labels, noisy.labels)
    assert not torch.equal(flip_labels(labels, share=0.3, seed=6).labels, noisy.labels)


def test_labels_flip_to_the_runner_up():
    labels = torch.tensor([0, 1, 2, 0])
    chances = torch.tensor([[0.9, 0.04, 0.06], [0.5, 0.1, 0.4], [0.1, 0.2, 0.7], [0.2, 0.7, 0.1]])
    noisy = flip_labels(labels, share=0.75, kind="runner-up", probabilities=chances, seed=1)
    runner_up = torch.tensor([2, 0, 1, 1])
    assert torch.equal(noisy.labels, torch.where(noisy.flipped, runner_up, labels))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"labels": torch.rand(5)}, "expected int64"),
        ({"share": 0.0}, "expected some, and not all"),
        ({"kind": "nearest"}, "'uniform' or 'runner-up'"),
        ({"kind": "runner-up"}, "needs probabilities of shape \\(20, 3\\)"),
        ({"classes": 2}, "as many as labels"),
    ],
)
def test_labels_that_cannot_be_flipped_are_refused(arguments, says):
    known = {"labels": torch.arange(20) % 3, "share": 0.2}
    with pytest.raises(InputError, match=says):
        flip_labels(**{**known, **arguments})


def test_detection_refuses_what_has_no_answer():
    with pytest.raises(InputError, match="one number per"):
        detection(torch.rand(3), torch.ones(4).bool())
    with pytest.raises(InputError, match=r"suspicion is a list .* expected one number per"):
        detection(["a", "b"], [True, False])
    with pytest.raises(InputError, match=r"wrong is int64 .* expected True or False for each"):
        detection([0.0, 1, 2], [2])
    with pytest.raises(InputError, match="0 of 3 labels are wrong"):
        detection(torch.rand(3), torch.zeros(3).bool())
    with pytest.raises(NonFiniteError, match="training example 1"):
        detection([0, math.nan, 1], torch.tensor([True, False, False]))


def test_retrieval_by_hand():
    scores = torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3]])
    relevant = torch.tensor([[False, True, False, True], [False, False, False, True]])
    assert recall_at_k(scores, relevant, 1) == pytest.approx((0 + 1) / 2)
    assert recall_at_k(scores, relevant, 2) == pytest.approx((0.5 + 1) / 2)
    assert mean_reciprocal_rank(scores, relevant) == pytest.approx((0.5 + 1) / 2)
    with pytest.raises(InputError, match="k is 0"):
        recall_at_k(scores, relevant, 0)
    with pytest.raises(InputError, match="query 0 has no relevant"):
        recall_at_k(scores, relevant & False, 1)
    assert recall_at_k(scores.tolist(), relevant.tolist(), 2) == pytest.approx((0.5 + 1) / 2)
    with pytest.raises(InputError, match=r"relevant is int64 .* expected True or False"):
        recall_at_k(scores, relevant.long(), 1)
    with pytest.raises(InputError, match=r"relevant is a list .* expected True or False"):
        recall_at_k(scores, [[True], [True, False]], 1)
    with pytest.raises(InputError, match="with a row per training example, transpose") as caught:
        recall_at_k(scores.mT, relevant, 1)
    assert "axes" not in str(caught.value)


def test_the_strongest_scores_alone_are_not_enough():
    top = KMostInfluentialResults(torch.zeros(2, 1).long(), torch.ones(2, 1))
    with pytest.raises(InputError, match=r"all 4 training examples: influence\(...\) without k"):
        recall_at_k(top, torch.ones(2, 4).bool(), 1)
    with pytest.raises(InputError, match="the highest or lowest of each query"):
        scores_matrix(top, queries=2, examples=4)
    with pytest.raises(InputError, match="isn't an array of numbers"):
        scores_matrix("scores.npy", queries=2, examples=4)


def test_scores_of_any_origin_are_put_in_order():
    matrix = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    wanted = {"queries": 2, "examples": 3}
    assert torch.equal(scores_matrix(matrix.numpy(), **wanted), matrix.double())
    assert torch.equal(scores_matrix(matrix.mT.numpy(), **wanted, axes="NQ"), matrix.double())
    found = scores_matrix(matrix, **wanted, ids=[2, 0, 1], query_ids=[1, 0])
    assert found.tolist() == [[5, 6, 4], [2, 3, 1]]
    named = scores_matrix(matrix, **wanted, ids=["c", "a", "b"], expected_ids=["a", "b", "c"])
    assert named.tolist() == [[2, 3, 1], [5, 6, 4]]
    # Scores of more than the bank knows are left out.
    assert scores_matrix(matrix, queries=2, examples=2, ids=[5, 1, 0]).tolist() == [[3, 2], [6, 5]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"scores": torch.rand(3, 2)}, "pass axes='NQ'"),
        (
            {"scores": torch.rand(2, 3), "axes": "NQ"},
            r"shape \(2, 3\); expected 3 training examples x 2 queries; .* pass axes='QN'",
        ),
        ({"scores": torch.rand(4)}, r"have shape \(4,\); expected 2 queries x 3 training examples"),
        ({"axes": "nq"}, "axes is 'nq'"),
        ({"ids": [0, 1, 1]}, "name training example 1 twice"),
        ({"ids": [0, 1, 3]}, "no scores of training example 2"),
        ({"query_ids": [0, 2]}, "no scores of query 1"),
    ],
)
def test_scores_that_do_not_fit_are_refused(arguments, says):
    known = {"scores": torch.rand(2, 3), "queries": 2, "examples": 3}
    with pytest.raises(InputError, match=says):
        scores_matrix(**{**known, **arguments})


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(NonFiniteError, match="query 1 and training example 2"):
        scores_matrix(torch.tensor([[0.0, 0, 0], [0, 0, math.inf]]), queries=2, examples=3)


def test_shuffling_does_not_change_measures():
    order = list(range(50))
    random.Random(0).shuffle(order)
    values = torch.rand(50, generator=torch.Generator().manual_seed(4))
    wrong = values > 0.6
    wrong[:5] = True
    assert detection(values, wrong) == detection(values[order], wrong[order])
