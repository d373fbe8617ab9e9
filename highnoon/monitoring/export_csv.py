"""A run's figures as a table."""

from __future__ import annotations

import csv
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from highnoon.monitoring.metric_names import MEASURED, METRICS

_FIRST = ("event", "step", "stage", "time")


def export_csv(lines: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> int:
    """Writes log points and evaluations as CSV, a column a metric; returns the rows. Folders are made."""
    measured = [line for line in lines if line["event"] in MEASURED]
    present = {name for line in measured for name in line}
    columns = [name for name in (*_FIRST, *METRICS) if name in present]
    columns += sorted(present - set(columns))
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(measured)
    return len(measured)
