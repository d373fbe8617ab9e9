from __future__ import annotations

import math

from highnoon.monitoring.views.sparkline import sparkline


def test_a_curve_goes_from_its_lowest_to_its_highest():
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3, 1, 2]) == "█▁▅"


def test_more_values_than_positions_are_averaged():
    assert sparkline([0, 2, 1, 1, 9, 9], width=3) == "▁▁█"
    assert len(sparkline(list(range(1000)), width=32)) == 32


def test_what_is_not_finite_shows_and_does_not_flatten_the_rest():
    assert sparkline([1, math.nan, math.inf, 2]) == "▁!!█"


def test_heights_can_be_those_of_logarithms():
    assert sparkline([1, 10, 100], is_logarithmic=True) == sparkline([1, 2, 3])
    assert sparkline([0, 1, 100], is_logarithmic=True)[:2] == "▁▁"


def test_nothing_and_the_same_again_can_be_drawn():
    assert sparkline([]) == ""
    assert sparkline([2, 2]) == "▁▁"


def test_ascii_is_ascii():
    assert sparkline(list(range(8)), is_ascii=True).isascii()
