"""Bits per byte of an evaluation during a run."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping

from highnoon.training.objective import NextToken
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.supervises_all import supervises_all
from highnoon.training.steps.evaluation import SplitSums


def bits_per_byte(data: StageData, parts: Mapping[str, SplitSums]) -> dict[str, float]:
    """Returns `val/bits_per_byte`; nothing for other objectives, or where bytes are not counted.

    The figure is exact where all rows were read. Of a sample of the rows it takes the bytes to be distributed
    evenly over the rows of a dataset.

    Args:
        data: Of the stage.
        parts: The sums over the rows that were read of each dataset.
    """
    objective = data.objective
    # The loss of a subclass of `NextToken` need not be the text's alone.
    if type(objective) is not NextToken and not objective.is_likelihood:
        return {}
    num_bytes = 0.0
    for dataset, rows in data.validation_rows_by_dataset.items():
        if not getattr(rows, "is_counted", True) or not supervises_all(rows):
            return {}
        num_bytes += rows.num_bytes * parts[dataset].num_rows / rows.view(0).num_rows
    split = functools.reduce(operator.add, parts.values())
    return {"val/bits_per_byte": split.bits_per_byte(num_bytes)} if num_bytes else {}
