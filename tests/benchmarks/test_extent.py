import pytest

from benchmarks.extent import Line, fitting


def test_a_fast_method_gets_every_example_and_round():
    given = fitting({"all scores": Line(0.1, 0.001)}, 1000, rounds=5, limit=60)
    assert (given.count, given.rounds) == (1000, {"all scores": 5})


def test_the_slowest_question_decides_how_many_examples_fit():
    lines = {"all scores": Line(0.0, 0.01), "self-influence": Line(4.0, 0.03)}
    given = fitting(lines, 10_000, rounds=5, limit=60)
    # Six rounds of ten seconds: 6 seconds of 0.03 each, in whole sixty-fours.
    assert given.count == 192
    assert given.rounds == {"all scores": 5, "self-influence": 5}


def test_below_64_examples_rounds_are_cut_in_place_of_examples():
    given = fitting({"all scores": Line(10.0, 0.1)}, 10_000, rounds=5, limit=60)
    assert given.count == 64
    assert given.rounds == {"all scores": 2}
    never = fitting({"all scores": Line(1000.0, 0.1)}, 10_000, rounds=5, limit=60)
    assert never.rounds == {"all scores": 1}


def test_a_small_workload_is_never_cut():
    assert fitting({"all scores": Line(0.0, 100.0)}, 20, rounds=5, limit=60).count == 20


def test_a_line_goes_through_its_points_and_never_below_zero():
    line = Line.through((64, 2.0), (128, 3.0))
    assert line.at(192) == pytest.approx(4.0)
    assert line.reaches(3.5) == pytest.approx(160)
    noisy = Line.through((64, 3.0), (128, 2.0))
    assert noisy.each == 0.0
    assert noisy.reaches(2.0) == 0.0
    assert noisy.reaches(3.0) == float("inf")
