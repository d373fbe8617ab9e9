"""Plots the curves of a run."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.files.name_path import name_path
from highnoon.monitoring.metrics.metric_names import in_order, metric_of
from highnoon.monitoring.views.drawable import drawable

_PANELS = (
    ("loss (nats per token)", ("train/loss", "val/loss")),
    ("gradient norm before clipping", ("train/grad_norm",)),
    ("learning rate", ("train/learning_rate",)),
    ("tokens per second", ("train/tokens_per_second",)),
    ("fraction of time waiting for data", ("train/data_wait_fraction",)),
    ("update / weight", ("train/update_ratio",)),
    ("entropy of the experts' load", ("router/load_entropy",)),
    ("firing rate", ("activation/firing_rate", "activation/firing_rate_level_*")),
    ("fraction of active neurons", ("activation/active_neurons",)),
    ("sparsity loss", ("train/sparsity_loss",)),
    ("loss by task (nats per token)", ("train/task_loss/*",)),
    ("validation loss by task", ("val/task_loss/*",)),
)
_COLUMNS = 2


def _matching(series: Mapping[str, Any], patterns: Sequence[str]) -> list[str]:
    """Returns the names that a panel shows; a `*` at the end of a pattern is any task or level."""
    starts = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    return in_order(name for name in series if name in patterns or (starts and name.startswith(starts)))


def plot_run(series: Mapping[str, Sequence[tuple[int, float]]], path: str | os.PathLike[str]) -> pathlib.Path:
    """Plots the metrics of a run into a PNG and returns its path; folders are created.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If the run has no metrics yet.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'highnoon[plots]'") from error
    present = ((title, _matching(series, patterns)) for title, patterns in _PANELS)
    panels = [(title, names) for title, names in present if names]
    if not panels:
        raise ValueError("there is nothing to plot: the run has no log point yet")
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(5.5 * _COLUMNS, 2.8 * rows), layout="constrained")
    for index, (title, names) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, index, xlabel="optimizer step", title=title)
        for name in names:
            metric = metric_of(name)
            axes.plot(*drawable(series[name]), label=metric.label if metric else name, linewidth=1)
            if metric and metric.is_logarithmic:
                axes.set_yscale("log")
        if len(names) > 1:
            axes.legend()
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with name_path(path):
        figure.savefig(path, dpi=120)
    return path
