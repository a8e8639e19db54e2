from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from headwater.checkpoints.rates import as_rate, as_rates, is_number
from headwater.errors import LearningRateError


@pytest.mark.parametrize(
    "value",
    [
        0.25,
        Fraction(1, 4),
        torch.tensor(0.25),
        torch.nn.Parameter(torch.tensor(0.25)),
        np.float32(0.25),
        np.array(0.25),
    ],
)
def test_scalars_of_any_library_become_floats(value: object) -> None:
    rate = as_rate(value, "x has")
    assert type(rate) is float
    assert rate == 0.25


def test_zero_and_integers_are_rates() -> None:
    assert [as_rate(0, "x has"), as_rate(torch.tensor(3), "x has")] == [0.0, 3.0]


@pytest.mark.parametrize(
    "value",
    [
        *(-0.1, float("nan"), float("inf"), 10**400, True, None, "0.1", 1j, [0.1]),
        *(torch.tensor(True), torch.tensor([0.1]), np.bool_(True), torch.tensor(float("nan"))),
    ],
)
def test_anything_else_is_refused_with_its_owner(value: object) -> None:
    with pytest.raises(
        LearningRateError, match=r"^run/a\.pt has learning rate .*; a learning rate is"
    ):
        as_rate(value, "run/a.pt has")


def test_a_bool_is_no_number() -> None:
    assert [is_number(x) for x in (1, np.int64(1), True, np.bool_(True))] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "values",
    [[0.3, 0.07], (0.3, 0.07), np.array([0.3, 0.07]), torch.tensor([0.3, 0.07]).double()],
)
def test_any_ordered_iterable_of_rates_is_taken(values: object) -> None:
    assert as_rates(values, 2) == pytest.approx((0.3, 0.07))
    assert as_rates(iter(values), None) == pytest.approx((0.3, 0.07))  # type: ignore[call-overload]


def test_a_wrong_number_of_rates_names_both_counts() -> None:
    with pytest.raises(
        LearningRateError, match="has 2 entries, and the number of checkpoints is 3"
    ):
        as_rates([0.3, 0.07], 3)


def test_an_endless_iterator_of_rates_ends_in_an_error() -> None:
    with pytest.raises(LearningRateError, match=r"has 3 \(or more\) entries.* checkpoints is 2"):
        as_rates(itertools.repeat(0.1), 2)


@pytest.mark.parametrize("values", [0.1, torch.tensor(0.1), {0: 0.1}, {0.1}, "1"])
def test_what_is_no_ordered_iterable_is_refused(values: object) -> None:
    with pytest.raises(LearningRateError, match="expected a list with one number per checkpoint"):
        as_rates(values, 1)


def test_a_bad_entry_is_named_with_its_place() -> None:
    with pytest.raises(LearningRateError, match=r"learning_rates\[1\] gives checkpoint 1 .* -2"):
        as_rates([0.1, -2], 2)
