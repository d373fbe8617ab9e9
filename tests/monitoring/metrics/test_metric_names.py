from __future__ import annotations

import math

import pytest

from highnoon.monitoring.metrics.metric_names import canonical_record, format_metric


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("train/loss", 2.5, "2.5000"),
        ("train/tokens_per_second", 12345.6, "12,346"),
        ("train/data_wait_fraction", 0.25, "25.0%"),
        ("train/memory_bytes", 3 * 2**30, "3.00 GiB"),
        ("train/memory_bytes", 2048, "2 KiB"),
        ("val/perplexity", 1e99, "1e+99"),
        ("train/loss", math.nan, "nan"),
        ("of/mine", 0.123456, "0.1235"),
    ],
)
def test_a_value_is_short_and_has_its_unit(name, value, text):
    assert format_metric(name, value) == text


def test_our_own_name_wins_over_another_s():
    record = canonical_record({"event": "log", "step": 1, "train/loss": 1.0, "loss": 9.0})
    assert record == {"event": "log", "step": 1, "train/loss": 1.0}


def test_lines_that_are_no_figures_keep_their_names():
    line = {"event": "epoch_end", "step": 1, "loss": 1.0, "val_loss": 2.0}
    assert canonical_record(line) == line
