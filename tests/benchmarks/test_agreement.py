import pytest
import torch

from benchmarks.agreement import TOLERANCE, difference


def test_the_difference_is_relative_to_the_largest_score_expected():
    expected = torch.tensor([[4.0, -8.0], [1.0, 2.0], [0.0, 1.0]])
    found = expected + torch.tensor([[0.0, 0.8], [0.0, 0.0], [-0.4, 0.0]])
    apart = difference(found, expected)
    assert apart.largest == pytest.approx(0.1)
    assert apart.median == pytest.approx(0.05)
    assert not apart.within


def test_a_difference_of_a_single_query_shows_in_the_largest_and_not_in_the_median():
    expected = torch.arange(1.0, 13.0).view(4, 3)
    found = expected.clone()
    found[2] *= 1.5
    apart = difference(found, expected)
    assert apart.largest > TOLERANCE
    assert apart.median == 0.0


def test_only_training_examples_that_both_have_are_compared():
    expected = torch.arange(1.0, 13.0).view(2, 6)
    assert difference(expected[:, :4], expected).largest == 0.0
    assert difference(expected[0], expected[0, :2]).within


def test_transposed_scores_are_refused_and_not_compared():
    with pytest.raises(ValueError, match=r"shape \(3, 2\), not \(2, 2\)"):
        difference(torch.ones(3, 2), torch.ones(2, 3))
