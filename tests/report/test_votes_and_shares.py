"""What is added up over examples, against sums written out."""

import pytest
import torch

from headwater.report.overview import found_curves, heat_map, histogram
from headwater.report.shares import by_group, cumulative
from headwater.report.votes import Traced, vote


def test_opponents_vote_with_the_size_of_their_scores_and_proponents_do_not():
    labels = [0, 1, 2, 2, 1]
    traced = Traced([(0, 9.0)], [(1, -1.5), (2, -1.0), (3, -0.75), (4, -0.1)])
    found = vote(traced, labels)
    assert found.label == 2
    assert found.share == pytest.approx(1.75 / 3.35)
    assert vote(Traced([(0, 1.0)], []), labels) is None


def test_half_of_the_absolute_influence_is_carried_by_the_strongest_of_both_signs():
    scores = torch.tensor([0.5, -4.0, 1.0, 3.0, -0.5, 1.0])
    curve = cumulative(scores)
    # 4 of 10 is not half; 4 + 3 is.
    assert curve.half == 2
    at = dict(zip(curve.counts, curve.shares, strict=True))
    assert at[1] == pytest.approx(0.4)
    assert at[2] == pytest.approx(0.7)
    assert at[6] == pytest.approx(1.0)


def test_scores_of_zero_have_no_curve():
    assert cumulative(torch.zeros(4)).half == 0


def test_groups_keep_their_signs_apart_and_the_most_influential_stands_first():
    scores = torch.tensor([1.0, -2.0, 0.25, -0.5])
    found = by_group(scores, torch.tensor([0, 0, 1, 1]), ["web", "book"])
    assert [(one.group, one.size, one.positive, one.negative) for one in found] == [
        ("web", 2, 1.0, -2.0),
        ("book", 2, 0.25, -0.5),
    ]


def test_the_histogram_counts_every_example_once_and_zeros_apart():
    scores = torch.tensor([0.0, 1e-3, 2e-3, 5.0, 700.0])
    wrong = torch.tensor([True, False, False, False, True])
    found = histogram(scores, wrong)
    assert found["zero"] == 1
    assert sum(one["count"] for one in found["bins"]) == 4
    assert sum(one["wrong"] for one in found["bins"]) == 1
    assert found["bins"][-1]["wrong"] == 1
    assert found["bins"][0]["low"] == pytest.approx(1e-3)
    assert found["bins"][-1]["high"] == pytest.approx(700.0)


def test_curves_and_their_area_agree_with_scikit_learn_on_ties():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(300, generator=generator) < 0.2
    scores = (wrong + torch.randn(300, generator=generator)).round()
    (curve,) = found_curves({"rounded": scores}, wrong)
    assert curve["auroc"] == pytest.approx(metrics.roc_auc_score(wrong, scores))
    first = scores.argsort(descending=True, stable=True)[:30]
    assert curve["at"][0] == pytest.approx(float(wrong[first].sum() / wrong.sum()))
    assert curve["checked"][-1] == curve["found"][-1] == 1


def test_the_heat_map_has_a_row_per_class_of_queries():
    found = heat_map(torch.tensor([[1.0, -2.0, 0.123456]]), [4], ["a", "b", "c"])
    assert found == {
        "queries": ["4"],
        "examples": ["a", "b", "c"],
        "means": [[1.0, -2.0, 0.1235]],
    }
