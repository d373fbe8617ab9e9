"""The metrics of a run: names, labels, formats and aliases."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
        Metric("activation/mean", "activation mean", ".3g"),
        Metric("activation/std", "activation spread", ".3g"),
        Metric("activation/firing_rate", "firing rate", ".3f"),
        Metric("val/perplexity", "perplexity", ".2f"),
    )
}

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
    "firing_rate": "activation/firing_rate",
    "firing_rate_mean": "activation/firing_rate",
}

MEASURED = ("log", "evaluation")
_LARGE = 1e9


def canonical_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a line with the canonical names of its metrics.

    A line without `event` is a log point or, if it has only validation metrics, an evaluation. Lines of other
    events do not change: the `loss` of an epoch is a mean over the epoch.
    """
    if record.get("event", "log") not in MEASURED:
        return dict(record)
    named = {ALIASES.get(key, key): value for key, value in record.items()}
    named |= {key: value for key, value in record.items() if key in METRICS}
    if "event" not in named:
        is_evaluation = "val/loss" in named and "train/loss" not in named
        named["event"] = "evaluation" if is_evaluation else "log"
    return named


def goes_back(record: Mapping[str, Any]) -> bool:
    """Returns whether a line says that the run went back to an earlier checkpoint."""
    return record.get("event") == "fault_answered" and record.get("answer") == "go_back"


def format_metric(name: str, value: float) -> str:
    """Returns a value as short text, with its unit if it has one."""
    form = METRICS[name].form if name in METRICS else ".4g"
    if form != "bytes":
        return format(value, form if abs(value) < _LARGE else ".3g")
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"
