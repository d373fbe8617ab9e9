"""The figures of each epoch of a run, as columns of equal length."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

History = dict[str, list[Any]]

FIRST_COLUMNS = ("stage", "epoch", "step", "loss", "val_loss")
MAX_VALUES = 100_000
"""Values in all columns together; of a longer run the newest epochs are retained."""


def new_history() -> History:
    """Returns a history without an epoch."""
    return {name: [] for name in FIRST_COLUMNS}


def add_epoch(history: History, figures: Mapping[str, Any]) -> None:
    """Appends an epoch: a column that it does not have gets None there, and a new column None before it.

    Args:
        history: The columns.
        figures: Of the epoch, by column.
    """
    num_epochs = len(history["step"])
    for name in figures:
        history.setdefault(name, [None] * num_epochs)
    for name, column in history.items():
        column.append(figures.get(name))
    retained = max(1, MAX_VALUES // len(history))
    for column in history.values():
        del column[:-retained]


def drop_beyond(history: History, step: int) -> None:
    """Removes the epochs that ended after a step, since the run went back before them."""
    is_kept = [end <= step for end in history["step"]]
    for name, column in history.items():
        history[name] = [value for value, kept in zip(column, is_kept, strict=True) if kept]


def copy_of(history: History) -> History:
    """Returns a copy that later epochs do not change."""
    return copy.deepcopy(history)


def keras_name(metric: str) -> str:
    """Returns the name of a metric in the history, as Keras writes it: `val_accuracy` for `val/accuracy`."""
    group, _, name = metric.partition("/")
    return f"val_{name}" if group == "val" else name


def history_problem(history: Any) -> str | None:
    """Returns what is wrong with the history of a checkpoint, or None."""
    if not isinstance(history, dict) or not all(isinstance(column, list) for column in history.values()):
        return "expected columns"
    if any(name not in history for name in FIRST_COLUMNS):
        return f"expected the columns {', '.join(FIRST_COLUMNS)}"
    if len({len(column) for column in history.values()}) > 1:
        return "expected columns of equal length"
    if not all(type(step) is int for step in history["step"]):
        return "expected integers as `step`"
    if not all(isinstance(value, (int, float, str, type(None))) for of in history.values() for value in of):
        return "expected numbers and texts"
    return None
