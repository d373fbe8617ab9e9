"""The metrics of a run: names, labels, formats and aliases."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is displayed.

    Args:
        name: `group/name`.
        label: The displayed name.
        form: The format specification of a value; `bytes` for binary units.
        is_logarithmic: Whether its curve has a logarithmic axis.
    """

    name: str
    label: str
    form: str = ".4f"
    is_logarithmic: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric("train/loss", "training loss"),
        Metric("val/loss", "validation loss"),
        Metric("train/grad_norm", "gradient norm", ".3g", is_logarithmic=True),
        Metric("train/learning_rate", "learning rate", ".3g"),
        Metric("train/tokens_per_second", "tokens/s", ",.0f"),
        Metric("train/data_wait_fraction", "waiting for data", ".1%"),
        Metric("train/flop_utilization", "FLOP utilization", ".1%"),
        Metric("train/memory_bytes", "memory", "bytes"),
        Metric("train/update_ratio", "update / weight", ".2e", is_logarithmic=True),
        Metric("train/weight_norm", "weight norm", ".4g"),
        Metric("train/grad_max", "largest gradient", ".3g", is_logarithmic=True),
        Metric("train/nan_count", "NaN gradients", ",.0f"),
        Metric("train/inf_count", "infinite gradients", ",.0f"),
        Metric("train/skipped_steps", "skipped steps", ",.0f"),
        Metric("train/loss_scale", "loss scale", ".3g"),
        Metric("train/aux_loss", "routers' loss"),
        Metric("train/sparsity_loss", "sparsity loss"),
        Metric("router/load_entropy", "expert load entropy", ".3f"),
        Metric("router/token_entropy", "router entropy", ".3f"),
        Metric("router/max_load", "busiest expert", ".2f"),
        Metric("router/drop_fraction", "dropped choices", ".1%"),
        Metric("mixture/best_expert_loss", "loss of the best expert"),
        Metric("policy/kl_step", "divergence of an iteration", ".3g"),
        Metric("policy/kl_reference", "divergence from the reference", ".3g"),
        Metric("policy/entropy", "policy entropy", ".3f"),
        Metric("policy/clip_fraction", "clipped tokens", ".1%"),
        Metric("policy/ratio", "policy ratio", ".3f"),
        Metric("policy/value_loss", "value loss", ".3g"),
        Metric("policy/explained_variance", "explained variance", ".3f"),
        Metric("policy/log_prob_difference", "largest log-probability difference", ".2e"),
        Metric("environment/return", "mean return", ".1f"),
        Metric("environment/episode_length", "episode length", ".1f"),
        Metric("environment/episodes", "finished episodes", ",.0f"),
        Metric("reward/mean", "mean reward", ".3f"),
        Metric("reward/std", "spread of rewards", ".3f"),
        Metric("reward/constant_fraction", "rewards without spread", ".1%"),
        Metric("completion/length", "completion length", ".1f"),
        Metric("completion/length_ratio", "length over that at the start", ".2f"),
        Metric("completion/end_fraction", "completions with an end", ".1%"),
        Metric("activation/mean", "activation mean", ".3g"),
        Metric("activation/std", "activation spread", ".3g"),
        Metric("activation/active_neurons", "active neurons", ".1%"),
        Metric("activation/gated_neurons", "active neurons that recall", ".1%"),
        Metric("activation/firing_rate", "firing rate", ".3f"),
        Metric("val/perplexity", "perplexity", ".2f"),
        Metric("val/bits_per_byte", "bits per byte", ".3f"),
    )
}

FAMILIES = {
    family.name: family
    for family in (
        Metric("train/task_loss/", "loss, {}"),
        Metric("val/task_loss/", "validation loss, {}"),
        Metric("mixture/load_", "load of expert {}", ".1%"),
        Metric("mixture/expert_loss_", "loss of expert {}"),
        Metric("activation/firing_rate_level_", "firing rate, level {}", ".3f"),
    )
}
"""Metrics of which a run has one for each task, expert or level: how their names begin, and their labels."""

ALIASES = {
    "loss": "train/loss",
    "train_loss": "train/loss",
    "val_loss": "val/loss",
    "eval_loss": "val/loss",
    "eval_val_loss": "val/loss",
    "grad_norm": "train/grad_norm",
    "grad_norm_total": "train/grad_norm",
    "grad_max": "train/grad_max",
    "nan_count": "train/nan_count",
    "inf_count": "train/inf_count",
    "lr": "train/learning_rate",
    "learning_rate": "train/learning_rate",
    "weight_norm": "train/weight_norm",
    "update_ratio": "train/update_ratio",
    "sparsity_loss": "train/sparsity_loss",
    "tokens_per_second": "train/tokens_per_second",
    "tokens_per_sec": "train/tokens_per_second",
    "data_wait_fraction": "train/data_wait_fraction",
    "skipped_steps": "train/skipped_steps",
    "activation_mean": "activation/mean",
    "activation_std": "activation/std",
    "active_neurons": "activation/active_neurons",
    "firing_rate": "activation/firing_rate",
    "firing_rate_mean": "activation/firing_rate",
}

_ALIASES_OF_FAMILIES = {
    "task_loss_": "train/task_loss/",
    "train_task_loss_": "train/task_loss/",
    "val_task_loss_": "val/task_loss/",
    "firing_rate_level_": "activation/firing_rate_level_",
}

HATCHING_NAMES = {
    ALIASES[name]: name
    for name in (
        "train_loss",
        "val_loss",
        "sparsity_loss",
        "grad_norm",
        "grad_max",
        "nan_count",
        "inf_count",
        "firing_rate",
        "activation_mean",
        "activation_std",
        "learning_rate",
        "weight_norm",
        "update_ratio",
    )
}
"""What the Dragon Hatching guide calls metrics, in its order."""
_HATCHING_FAMILIES = ("task_loss_", "val_task_loss_", "firing_rate_level_")

MEASURED = ("log", "evaluation")
_LARGE = 1e9


def metric_of(name: str) -> Metric | None:
    """Returns how a metric is displayed; None for an unknown name.

    A metric of a family has its own label: `train/task_loss/bash_command` is "loss, bash_command".
    """
    if name in METRICS:
        return METRICS[name]
    for start, family in FAMILIES.items():
        if name.startswith(start) and len(name) > len(start):
            return dataclasses.replace(family, name=name, label=family.label.format(name[len(start) :]))
    return None


def canonical_name(name: str) -> str:
    """Returns the canonical name of a metric; an unknown name is returned as it is."""
    if name in ALIASES or name in METRICS:
        return ALIASES.get(name, name)
    for start, family in _ALIASES_OF_FAMILIES.items():
        if name.startswith(start) and len(name) > len(start):
            return family + name[len(start) :]
    return name


def hatching_name(name: str) -> str:
    """Returns what the Dragon Hatching guide calls a metric; one that it does not have keeps its name.

    Example:

    ```python
    from highnoon.monitoring.metrics.metric_names import hatching_name

    assert hatching_name("train/task_loss/bash_command") == "task_loss_bash_command"
    assert hatching_name("train/tokens_per_second") == "train/tokens_per_second"
    ```
    """
    for start in _HATCHING_FAMILIES:
        family = _ALIASES_OF_FAMILIES[start]
        if name.startswith(family):
            return start + name[len(family) :]
    return HATCHING_NAMES.get(name, name)


def in_order(names: Iterable[str]) -> list[str]:
    """Returns names in the order of `METRICS`, then families with their numbers in order, then the others."""
    known, families = list(METRICS), list(FAMILIES)

    def rank(name: str) -> tuple[int, list[tuple[int, str]]]:
        if name in METRICS:
            return known.index(name), []
        of = next((i for i, start in enumerate(families) if name.startswith(start)), len(families))
        parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,9})", name)]
        return len(known) + of, parts

    return sorted(names, key=rank)


def canonical_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a line with the canonical names of its metrics.

    A line without `event` is a log point or, if it has only validation metrics, an evaluation. Lines of other
    events do not change: the `loss` of an epoch is a mean over the epoch.
    """
    if record.get("event", "log") not in MEASURED:
        return dict(record)
    named = {canonical_name(key): value for key, value in record.items()}
    named |= {key: value for key, value in record.items() if metric_of(key) is not None}
    if "event" not in named:
        is_evaluation = "val/loss" in named and "train/loss" not in named
        named["event"] = "evaluation" if is_evaluation else "log"
    return named


def goes_back(record: Mapping[str, Any]) -> bool:
    """Returns whether a line says that the run went back to an earlier checkpoint."""
    return record.get("event") == "fault_answered" and record.get("answer") == "go_back"


def format_metric(name: str, value: float) -> str:
    """Returns a value as short text, with its unit if it has one."""
    metric = metric_of(name)
    form = ".4g" if metric is None else metric.form
    if form != "bytes":
        return format(value, form if abs(value) < _LARGE else ".3g")
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"
