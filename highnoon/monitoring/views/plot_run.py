"""Plots the curves of a run."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence

from highnoon.files.name_path import name_path
from highnoon.monitoring.metrics.metric_names import METRICS
from highnoon.monitoring.views.drawable import drawable

_PANELS = (
    ("loss (nats per token)", ("train/loss", "val/loss")),
    ("gradient norm before clipping", ("train/grad_norm",)),
    ("learning rate", ("train/learning_rate",)),
    ("tokens per second", ("train/tokens_per_second",)),
    ("fraction of time waiting for data", ("train/data_wait_fraction",)),
    ("update / weight", ("train/update_ratio",)),
    ("entropy of the experts' load", ("router/load_entropy",)),
    ("firing rate", ("activation/firing_rate",)),
)
_COLUMNS = 2


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
    present = ((title, [name for name in names if name in series]) for title, names in _PANELS)
    panels = [(title, names) for title, names in present if names]
    if not panels:
        raise ValueError("there is nothing to plot: the run has no log point yet")
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(5.5 * _COLUMNS, 2.8 * rows), layout="constrained")
    for index, (title, names) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, index, xlabel="optimizer step", title=title)
        for name in names:
            axes.plot(*drawable(series[name]), label=METRICS[name].label, linewidth=1)
            if METRICS[name].is_logarithmic:
                axes.set_yscale("log")
        if len(names) > 1:
            axes.legend()
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with name_path(path):
        figure.savefig(path, dpi=120)
    return path
