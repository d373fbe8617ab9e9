"""What differs between a run and the checkpoint that it resumes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from highnoon.config import canonical_keys
from highnoon.config.optimizer_choice import is_of_keras, optimizer_name


@dataclasses.dataclass(frozen=True)
class PlanChange:
    """One difference between a plan and the one that a run began with.

    Args:
        stage: Of this stage; "" for the entire run.
        key: What differs.
        now: Its value now.
        then: Its value in the checkpoint.
        is_extension: Whether it does no more than lengthen the run.
    """

    stage: str
    key: str
    now: Any
    then: Any
    is_extension: bool = False

    def __str__(self) -> str:
        where = f"stage `{self.stage}`: " if self.stage else ""
        now, then = ("not given" if value is None else value for value in (self.now, self.then))
        return f"{where}{self.key} is {now} now, {then} in the checkpoint"


# Options that change nothing of what a run computes, or that the plan's own rows tell.
_FREE_OPTIONS = {
    "learning_rate",
    "batch_size",
    "epochs",
    "warmup_steps",
    "gradient_accumulation_steps",
    "global_batch_size",
    "max_seq_length",
    "validation_split",
    "learning_rate_scaling",
    "max_skipped_steps",
    "on_repeated_faults",
}


def config_changes(now: dict[str, Any], then: dict[str, Any]) -> list[PlanChange]:
    """Returns the options in which a run differs from its checkpoint, but for those that the plan shows."""

    def value(config: dict[str, Any], key: str) -> Any:
        return list(config[key]) if isinstance(config.get(key), tuple) else config.get(key)

    # A checkpoint that was written before an option existed has its default.
    then = {"whole_documents": False, **canonical_keys(then)}
    names = {optimizer_name(config.get("optimizer")) for config in (now, then)}
    now, then = (_without_nesting(config, has_arguments=len(names) == 1) for config in (now, then))
    keys = sorted({*now, *then} - _FREE_OPTIONS)
    return [
        PlanChange("", key, value(now, key), value(then, key))
        for key in keys
        if value(now, key) != value(then, key)
    ]


def _without_nesting(config: Mapping[str, Any], *, has_arguments: bool) -> dict[str, Any]:
    """Returns a configuration in which an optimizer of Keras is its name, and one entry for each argument."""
    optimizer = config.get("optimizer")
    if not is_of_keras(optimizer):
        return dict(config)
    flat = {**config, "optimizer": f"{optimizer_name(optimizer)} of Keras"}
    arguments = optimizer.get("config")
    if not has_arguments or not isinstance(arguments, Mapping):
        return flat
    flat |= {f"optimizer.config.{key}": value for key, value in arguments.items()}
    return flat | {
        f"optimizer.{key}": value for key, value in optimizer.items() if key not in ("config", "class_name")
    }
