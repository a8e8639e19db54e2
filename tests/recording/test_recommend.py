"""Recommended checkpoints are where the loss falls, and the reason says what was gone by."""

import math

import pytest

from headwater.checkpoints.recording.recommend import recommended

STEPS = list(range(0, 200, 10))
EXPONENTIAL = [2 * math.exp(-step / 40) + 0.1 for step in STEPS]


def chosen(losses, n, *, steps=STEPS, rates=None):
    places, reason = recommended(steps, losses, rates or [0.1] * len(steps), n)
    assert places == sorted(set(places))
    assert len(places) == min(n, sum(rate > 0 for rate in rates or [1] * len(steps)))
    return places, reason


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_checkpoints_are_early_to_middle_where_the_loss_falls_early(n):
    places, reason = chosen(EXPONENTIAL, n)
    assert max(places) < len(STEPS) * 0.7
    assert "equal share of the fall of the training loss from 2.1 to" in reason
    assert all(str(STEPS[place]) in reason for place in places)


def test_each_stands_for_an_equal_share_of_the_fall():
    """Against the definition: the nearest to the middle of each share, on a fine grid."""
    steps = list(range(1000))
    losses = [3 * math.exp(-step / 150) for step in steps]
    places, _ = chosen(losses, 4, steps=steps)
    fall = losses[0] - losses[-1]
    for share, place in enumerate(places):
        assert (losses[0] - losses[place]) / fall == pytest.approx((share + 0.5) / 4, abs=0.004)


def test_a_plateau_before_the_fall_is_passed_over():
    losses = [2.0] * 8 + [2.0 - 0.2 * k for k in range(1, 9)] + [0.4] * 4
    places, _ = chosen(losses, 4)
    assert all(7 <= place <= 15 for place in places)


def test_a_late_bump_does_not_count_as_falling_twice():
    losses = [2.0, 1.5, 1.0, 0.5, 1.9, 0.5, 0.5, 0.5]
    places, _ = chosen(losses, 3, steps=STEPS[:8])
    assert max(places) <= 3


def test_more_than_the_loss_fell_at_are_said_to_be():
    losses = [2.0, 1.0, *[0.5] * 6]
    places, reason = chosen(losses, 5, steps=STEPS[:8])
    assert places == [0, 1, 2, 3, 4]
    assert "It fell at no more than 2 of these" in reason


def test_missing_losses_are_placed_between_their_neighbours():
    gaps = [loss if place % 3 == 0 else None for place, loss in enumerate(EXPONENTIAL)]
    gaps[6] = math.nan
    places, reason = chosen(gaps, 4)
    whole, _ = chosen(EXPONENTIAL, 4)
    assert all(abs(a - b) <= 2 for a, b in zip(places, whole, strict=True))
    assert "14 without a loss are placed between others" in reason
    one, _ = chosen([None, *EXPONENTIAL[1:-1], None], 4)
    assert all(abs(a - b) <= 1 for a, b in zip(one, whole, strict=True))


def test_without_losses_they_are_spread_evenly():
    places, reason = chosen([None] * 20, 4)
    assert [STEPS[place] for place in places] == pytest.approx([24, 71, 119, 166], abs=5)
    assert "no losses were noted" in reason


@pytest.mark.parametrize(
    "losses",
    [[0.7] * 20, [0.7 + 0.1 * k for k in range(20)], [0.7 - 1e-4 * k for k in range(20)]],
)
def test_where_the_loss_does_not_fall_they_are_spread_evenly_and_it_is_said(losses):
    places, reason = chosen(losses, 4)
    assert places == chosen([None] * 20, 4)[0]
    assert "never fell clearly below the 0.7 it began with" in reason


def test_a_loss_below_zero_falls_too():
    below = [loss - 5 for loss in EXPONENTIAL]
    assert chosen(below, 4)[0] == chosen(EXPONENTIAL, 4)[0]


def test_steps_at_uneven_distances_are_spread_by_step():
    steps = [0, 1, 2, 3, 4, 5, 6, 100]
    assert chosen([None] * 8, 2, steps=steps)[0] == [6, 7]


def test_all_are_taken_where_there_are_no_more():
    assert chosen(EXPONENTIAL, 20) == (list(range(20)), "All 20: 20 were asked for.")
    assert chosen(EXPONENTIAL, 31)[1] == "All 20: 31 were asked for."
    assert chosen([0.5], 3, steps=[0])[1] == "The only one there is: 3 were asked for."


def test_a_rate_of_zero_is_left_out():
    rates = [0.0, *[0.1] * 19]
    places, reason = chosen(EXPONENTIAL, 19, rates=rates)
    assert places == list(range(1, 20))
    assert "Left out: 1 with a rate of 0" in reason
    assert 0 not in chosen(EXPONENTIAL, 8, rates=rates)[0]


def test_where_all_rates_are_zero_none_is_left_out():
    places, _ = recommended(STEPS, EXPONENTIAL, [0.0] * 20, 3)
    assert len(places) == 3
