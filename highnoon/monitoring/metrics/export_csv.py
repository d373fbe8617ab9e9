"""Exports the metrics of a run as CSV."""

from __future__ import annotations

import csv
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from highnoon.files.name_path import name_path
from highnoon.monitoring.metrics.metric_names import MEASURED, hatching_name, in_order

# Including full-width forms, which some spreadsheets treat the same.
_FORMULAS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
_FIRST = ("event", "step", "stage", "time")


NAMES: Mapping[str, Callable[[str], str]] = {"highnoon": str, "hatching": hatching_name}
"""Whose names of metrics an export has, and what makes them."""


def export_csv(
    lines: Iterable[Mapping[str, Any]], path: str | os.PathLike[str], names: str = "highnoon"
) -> int:
    """Writes log points and evaluations as CSV, one column per metric, and returns the number of rows.

    Folders are created. A name or stage that a spreadsheet would read as a formula gets a leading apostrophe.

    Args:
        lines: Of a run's metrics file.
        path: The CSV file.
        names: `"highnoon"`, or `"hatching"` for the metrics' names in the Dragon Hatching guide, such as
            `train_loss`, where it has one.
    """
    measured = [line for line in lines if line["event"] in MEASURED]
    present = {name for line in measured for name in line}
    columns = [name for name in _FIRST if name in present]
    columns += in_order(present - set(columns))
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A lone surrogate, which has no encoding, is written as its escape.
    with name_path(path), path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow([_cell(NAMES[names](name)) for name in columns])
        writer.writerows([_cell(line.get(name)) for name in columns] for line in measured)
    return len(measured)


def _cell(value: Any) -> Any:
    """Returns a value as it is written: numbers as they are, texts so that no spreadsheet evaluates them.

    A text that begins like a formula (after blanks) gets a leading apostrophe, which marks text.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    begins_formula = text.lstrip()[:1] in _FORMULAS or text[:1] in "\t\r\n"
    return f"'{text}" if text and begins_formula else text
