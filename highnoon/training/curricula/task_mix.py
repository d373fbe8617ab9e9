"""Stages that mix tasks with their own weights, each for a number of optimizer steps."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import (
    ConfigError,
    require_count,
    require_number,
    require_texts,
    resolve_keys,
    shown,
)
from highnoon.training.plans.stages import CurriculumStage

_KEYS = {"name", "iters", "max_steps", "weights", "overrides"}


def task_mix_stages(
    tasks: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    optional: Sequence[str] = (),
    max_iters: int | None = None,
) -> list[CurriculumStage]:
    """Returns one curriculum stage for each mix. The run reports the loss of each task.

    Args:
        tasks: The data of each task: a name, path, source or `TextDataset`.
        stages: Mappings with `weights`, the fraction of the tokens of each task, with sum 1; `iters` (or
            `max_steps`), a number of optimizer steps or a range `[first, last]` of steps of the run; and
            optionally `name` and `overrides`.
        optional: Tasks whose data may be missing: a warning is issued, and the other weights are rescaled.
        max_iters: Total number of steps, which is compared with the stages; None for no check.

    Raises:
        ConfigError: A task has no data, weights do not sum to 1, ranges have gaps, or lengths do not add up
            to `max_iters`.

    Example:

    ```python
    tasks = {"text": "stdlib:docs", "code": "stdlib:code"}
    first, second = task_mix_stages(
        tasks,
        [{"iters": 20, "weights": {"text": 1.0}}, {"iters": 30, "weights": {"text": 0.4, "code": 0.6}}],
    )
    assert second.steps == 30 and second.datasets == [("stdlib:docs", 0.4), ("stdlib:code", 0.6)]
    ```
    """
    _check_shapes(tasks, stages, optional)
    if max_iters is not None:
        max_iters = require_count("max_iters", max_iters)
    unknown = [task for task in optional if task not in tasks]
    if unknown:
        raise ConfigError(f"`optional` names the task {shown(unknown[0])}; tasks are {_names(tasks)}")
    made: list[CurriculumStage] = []
    begin = 0
    for number, values in enumerate(stages, start=1):
        given = resolve_keys(values, _KEYS, f"stage {number} of the task mix")
        name = given.get("name", f"mix {number}")
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"`name` of stage {number} of the mix must be a text; received {shown(name)}")
        steps = _num_steps(given, name, begin)
        begin += steps
        made.append(_stage(name, steps, given, tasks, optional))
    if max_iters is not None and begin != max_iters:
        raise ConfigError(
            f"the stages of the task mix last {begin:,} steps in all, and `max_iters` is {max_iters:,}"
        )
    return made


def _check_shapes(tasks: Any, stages: Any, optional: Any) -> None:
    if not isinstance(tasks, Mapping) or not all(isinstance(task, str) and task.strip() for task in tasks):
        raise ConfigError(f"`tasks` must be a mapping of names to data; received {shown(tasks)}")
    if not isinstance(stages, (list, tuple)):
        raise ConfigError(f"the `stages` of the task mix must be a list; received {shown(stages)}")
    if not stages:
        raise ConfigError("the task mix has no stages; give at least one with `iters` and `weights`")
    require_texts("optional", optional)
    if isinstance(optional, str):
        raise ConfigError(f"`optional` must be a list of tasks; received {shown(optional)}")


def _num_steps(given: Mapping[str, Any], name: str, begin: int) -> int:
    keys = [key for key in ("iters", "max_steps") if given.get(key) is not None]
    if len(keys) != 1:
        raise ConfigError(f"stage `{name}` needs one of `iters` and `max_steps`; received {len(keys)}")
    key, length = keys[0], given[keys[0]]
    if isinstance(length, (list, tuple)):
        if len(length) != 2 or any(not _is_integer(bound) for bound in length) or length[0] != begin:
            raise ConfigError(
                f"stage `{name}` must begin at step {begin}, where the one before ends; "
                f"received {shown(length)}"
            )
        length = length[1] - length[0]
    return require_count(f"{key}` of stage `{name}", length)


def _names(tasks: Mapping[str, Any]) -> str:
    return ", ".join(shown(task)[1:-1] for task in tasks) or "none"


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _stage(
    name: str, steps: int, given: Mapping[str, Any], tasks: Mapping[str, Any], optional: Sequence[str]
) -> CurriculumStage:
    weights = given.get("weights")
    if not isinstance(weights, Mapping) or not weights:
        raise ConfigError(
            f"stage `{name}` needs `weights`, a fraction for each task; received {shown(weights)}"
        )
    unknown = [task for task in weights if task not in tasks]
    if unknown:
        raise ConfigError(
            f"stage `{name}` weighs the task {shown(unknown[0])}, which has no data; tasks are "
            f"{_names(tasks)}"
        )
    try:
        checked = {task: require_number(task, weight, least=0) for task, weight in weights.items()}
    except ConfigError:
        raise ConfigError(
            f"the weights of stage `{name}` must be numbers, none below 0; received {shown(dict(weights))}"
        ) from None
    used = {task: weight for task, weight in checked.items() if weight > 0}
    overrides = {} if given.get("overrides") is None else given["overrides"]
    return CurriculumStage(
        name,
        [(tasks[task], weight) for task, weight in used.items()],
        steps=steps,
        config_overrides=overrides,
        optional=[tasks[task] for task in optional if task in used],
        tasks=list(used),
    )


def sequence_length_stages(
    name: str, datasets: Any, lengths: Sequence[int], config: Any, **arguments: Any
) -> list[CurriculumStage]:
    """Returns one stage for each row length, short rows first, with the same number of tokens per step.

    Args:
        name: The stages are called `name-64`, `name-128`, ...
        datasets: As a `CurriculumStage` takes them.
        lengths: Increasing row lengths, each a divisor of the number of tokens of a micro-batch.
        config: The run's configuration: every micro-batch has `batch_size * max_seq_length` tokens.
        **arguments: Other arguments of `CurriculumStage`. `steps` or `tokens` is the total over the stages,
            split evenly; `epochs` is the length of each stage.

    Raises:
        ConfigError: Lengths do not increase or do not divide the tokens, or `global_batch_size` is set.

    Li, Zhang, He 2022, "The stability-efficiency dilemma: investigating sequence length warmup for training
    GPT models".
    """
    tokens = config.batch_size * config.max_seq_length
    if not isinstance(lengths, (list, tuple)):
        raise ConfigError(f"`lengths` must be a list of integers; received {shown(lengths)}")
    lengths = [require_count("lengths", length) for length in lengths]
    for key in ("steps", "tokens"):
        if arguments.get(key) is not None:
            require_count(key, arguments[key])
    if not lengths or list(lengths) != sorted(set(lengths)) or any(tokens % length for length in lengths):
        raise ConfigError(
            f"`lengths` must increase, each a divisor of the {tokens:,} tokens of a micro-batch (batch_size="
            f"{config.batch_size} x max_seq_length={config.max_seq_length}); received {list(lengths)}"
        )
    if config.global_batch_size is not None:
        raise ConfigError(
            "`global_batch_size` counts rows, whose length changes here; give "
            "`gradient_accumulation_steps` instead"
        )
    if lengths[-1] != config.max_seq_length:
        warnings.warn(
            f"the longest rows of `{name}` are {lengths[-1]} tokens, not max_seq_length="
            f"{config.max_seq_length}",
            stacklevel=3,
        )
    stages = []
    for index, length in enumerate(lengths):
        parts = {
            key: (index + 1) * arguments[key] // len(lengths) - index * arguments[key] // len(lengths)
            for key in ("steps", "tokens")
            if arguments.get(key) is not None
        }
        overrides = {
            **arguments.get("config_overrides", {}),
            "max_seq_length": length,
            "batch_size": tokens // length,
        }
        stages.append(
            CurriculumStage(
                f"{name}-{length}", datasets, **{**arguments, **parts, "config_overrides": overrides}
            )
        )
    return stages
