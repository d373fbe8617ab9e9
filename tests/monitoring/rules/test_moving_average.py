from __future__ import annotations

import math

import pytest

from highnoon.monitoring.rules.moving_average import move_average


def test_the_first_value_is_the_average():
    assert move_average(None, 7, 3.0, 50) == [3.0, 7]


def test_the_average_depends_on_steps_and_not_on_the_number_of_log_points():
    often = [1.0, 0]
    for step in range(10, 101, 10):
        often = move_average(often, step, 2.0, 50)
    rarely = move_average([1.0, 0], 100, 2.0, 50)
    assert often == pytest.approx(rarely)
    assert rarely == pytest.approx([2 - math.exp(-2), 100])


@pytest.mark.parametrize(
    ("average", "value"), [([math.nan, 0], 2.0), ([math.inf, 0], 2.0), ([-1.7e308, 0], 1.7e308)]
)
def test_an_average_that_is_not_finite_or_overflows_begins_again(average, value):
    assert move_average(average, 1, value, 1e-3) == [value, 1]
