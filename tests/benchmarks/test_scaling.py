import itertools

import pytest

from benchmarks.scaling import points, slope


def test_linear_growth_has_slope_one_and_quadratic_growth_two():
    assert slope([(x, 3.0 * x) for x in (1, 2, 4, 8)]) == pytest.approx(1.0)
    assert slope([(x, 0.1 * x**2) for x in (1, 2, 4, 8)]) == pytest.approx(2.0)


def test_axes_go_by_powers_of_two():
    for workload in ("W1", "W3"):
        for axis in ("N", "Q", "C", "width"):
            found = points(workload, axis, 1000)
            assert {b / a for a, b in itertools.pairwise(found)} == {2.0}
