"""Plots the returns of a policy's episodes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from highnoon.files.expand_home import expand_home
from highnoon.files.name_path import name_path
from highnoon.monitoring import read_metrics


def plot_returns(metrics_file: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Draws the mean return of each iteration's finished episodes over environment steps, as a PNG.

    Args:
        metrics_file: The `metrics.jsonl` that `PolicyTrainer` wrote.
        path: The PNG file; folders are created.

    Raises:
        ImportError: matplotlib is not installed.
        FileNotFoundError: there is no such metrics file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a plot of returns needs matplotlib: pip install 'highnoon[plots]'") from error
    points = returns_of(metrics_file)
    path = expand_home(path)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="environment steps", ylabel="mean return of finished episodes")
    axes.plot([step for step, _ in points], [value for _, value in points], linewidth=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with name_path(path):
        figure.savefig(path, dpi=120)


def returns_of(metrics_file: str | os.PathLike[str]) -> Sequence[tuple[int, float]]:
    """Returns steps and mean returns, of iterations in which an episode ended."""
    name = "environment/return"
    lines = read_metrics(expand_home(metrics_file))
    return [(line["step"], line[name]) for line in lines if line["event"] == "log" and name in line]
