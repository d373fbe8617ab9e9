"""Rows read ahead are those of `StageData.batch`, whatever was read before."""

from __future__ import annotations

import types

import numpy as np
import pytest

from highnoon.training.runs.rows_ahead import RowsAhead

ROWS_PER_STEP, NUM_ROWS = 4, 42


class View:
    """Rows that are their own numbers; keeps what was asked for."""

    num_rows = NUM_ROWS

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, count: int) -> dict[str, np.ndarray]:
        self.asked.append((start, count))
        return {"token_ids": np.arange(start, min(start + count, NUM_ROWS))[:, None] * np.ones(3, np.int32)}


def make_data(tokens_per_step: int) -> types.SimpleNamespace:
    def batch(view, step, first=0, count=None):
        start = min(step * ROWS_PER_STEP + first, NUM_ROWS)
        return view.read(start, ROWS_PER_STEP - first if count is None else count)

    return types.SimpleNamespace(rows_per_step=ROWS_PER_STEP, tokens_per_step=tokens_per_step, batch=batch)


@pytest.fixture
def rows():
    ahead = RowsAhead()
    yield ahead
    ahead.close()


@pytest.mark.parametrize("tokens_per_step", [1 << 12, 1 << 20])
def test_rows_are_those_of_the_step_wherever_the_run_goes(rows, tokens_per_step):
    data, view, other = make_data(tokens_per_step), View(), View()
    visits = [(view, step) for step in (0, 1, 2, 9, 10)] + [(other, 3), (view, 3), (view, 1)]
    for read_view, step in visits:
        read = rows.read(data, read_view, step, 0, ROWS_PER_STEP)
        np.testing.assert_array_equal(read["token_ids"], data.batch(View(), step)["token_ids"])


@pytest.mark.parametrize("tokens_per_step", [1 << 12, 1 << 20])
def test_rows_of_several_steps_are_stacked(rows, tokens_per_step):
    data, view = make_data(tokens_per_step), View()
    for step, count in ((0, 1), (1, 3), (4, 5), (9, 1), (10, 1)):
        read = rows.read(data, view, step, 0, ROWS_PER_STEP, count)["token_ids"]
        expected = [data.batch(View(), one)["token_ids"] for one in range(step, step + count)]
        np.testing.assert_array_equal(read, expected if count > 1 else expected[0])


def test_a_part_of_a_step_is_read_alone(rows):
    data, view = make_data(1 << 12), View()
    for first in (0, 2):
        read = rows.read(data, view, 3, first, 2)["token_ids"]
        np.testing.assert_array_equal(read[:, 0], [12 + first, 13 + first])
    assert all(count == 2 for _, count in view.asked)


def test_small_steps_are_read_several_at_a_time(rows):
    data, view = make_data(1 << 12), View()
    for step in range(11):
        rows.read(data, view, step, 0, ROWS_PER_STEP)
    assert view.asked[:3] == [(0, 16), (16, 16), (32, 16)]
