import itertools

import pytest

from benchmarks.answering import QUESTIONS
from benchmarks.scaling import axis_section, points, slope


def test_linear_growth_has_slope_one_and_quadratic_growth_two():
    assert slope([(x, 3.0 * x) for x in (1, 2, 4, 8)]) == pytest.approx(1.0)
    assert slope([(x, 0.1 * x**2) for x in (1, 2, 4, 8)]) == pytest.approx(2.0)


def test_axes_go_by_powers_of_two():
    for workload in ("W1", "W3"):
        for axis in ("N", "Q", "C", "width"):
            found = points(workload, axis, 1000)
            assert {b / a for a, b in itertools.pairwise(found)} == {2.0}


def test_an_axis_is_a_table_and_that_of_n_has_slopes():
    rows = [
        {
            "value": value,
            "questions": {
                question: {
                    "ratio": 0.9,
                    "seconds": value / 1000,
                    "memory": {"peak": 2**20 * value, "plain": 2**21, "answer": 0},
                }
                for question in QUESTIONS
            },
        }
        for value in (1000, 2000)
    ]
    written = axis_section("N", rows)
    assert "| 2,000 | 0.90 (2 s) | 2,000 MB, × 1,000 |" in written
    assert "all scores 1.00 in time, 1.00 in memory" in written
    assert "Slope" not in axis_section("Q", rows)
