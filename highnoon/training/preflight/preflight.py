"""Estimates of what a run needs, and checks of its data, before the first step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from highnoon.config import ConfigError, TrainingConfig
from highnoon.config.optimizer_choice import is_of_keras, optimizer_name
from highnoon.models import LimitExceededError
from highnoon.models.memory import available_memory
from highnoon.training.optimizers import Adafactor, AdamW, FunctionalOptimizer, Lion, Muon
from highnoon.training.optimizers.keras_optimizers.slots_per_weight import slots_per_weight
from highnoon.training.optimizers.muon import matrix_shapes
from highnoon.training.plans.plan import TrainingPlan
from highnoon.training.plans.stage_data import StageData
from highnoon.training.preflight.activation_memory import activation_bytes
from highnoon.training.preflight.data_checks import (
    StageCheck,
    check_stage,
    tokenizer_problems,
    trains_language,
)
from highnoon.training.steps.replicas import all_variables
from highnoon.training.trainable_weights import largest_selection

_BYTES_OF_TOKEN = 16  # token id, position, segment and loss weight in a batch
_SHOWN_BYTES = 2**16  # counters of routers are smaller
_TIGHT = 0.9  # fraction of the free memory above which a warning is issued


@dataclasses.dataclass(frozen=True)
class Preflight:
    """The memory that a run needs on one device, its length, and its problems.

    Args:
        parameters: Numbers in the model's weights.
        weight_bytes: The weights, which are allocated already.
        gradient_bytes: The gradients of a step: their sum, and those of one micro-batch.
        slot_bytes: The slots of the optimizer.
        average_bytes: The moving average of the weights; 0 without one.
        counter_bytes: What layers sum up during a step besides gradients, such as spike timing: the values
            before it and those that change, in addition to the variables themselves.
        activation_bytes: An estimate for one micro-batch; None if the model cannot estimate it.
        update_bytes: New weights, slots and averages, which exist alongside the old ones during the update.
        available_bytes: Free memory of the device, after the weights.
        device: `"this machine"` or the name of the GPU.
        local_replicas: Replicas that share the available bytes.
        batch_size: Rows in a micro-batch.
        row_length: Tokens in the longest rows.
        rows_per_step: Rows of an optimizer step on all replicas, of each stage.
        optimizer: Its name.
        total_steps: Optimizer steps of the plan.
        total_tokens: Tokens of all steps of the plan, including padding.
        stages: The results of checking each stage.
        problems: Reasons why the run cannot succeed, one per line.
        warnings: Things that a person should check, one per line.
    """

    parameters: int
    weight_bytes: int
    gradient_bytes: int
    slot_bytes: int
    average_bytes: int
    counter_bytes: int
    activation_bytes: int | None
    update_bytes: int
    available_bytes: int
    device: str
    local_replicas: int
    batch_size: int
    row_length: int
    rows_per_step: list[int]
    optimizer: str
    total_steps: int
    total_tokens: int
    stages: list[StageCheck]
    problems: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def needed_bytes(self) -> int:
        """The peak memory of the replicas of a device during a step, without the weights."""
        lasting = self.slot_bytes + self.average_bytes + self.counter_bytes
        backward = self.gradient_bytes + (self.activation_bytes or 0)
        update = self.gradient_bytes // 2 + self.update_bytes
        return self.local_replicas * (lasting + max(backward, update))

    def __str__(self) -> str:
        activations = "not estimated: the model's layers are not HighNoon's"
        if self.activation_bytes is not None:
            activations = (
                f"about {_size(self.activation_bytes)} for {self.batch_size} rows of {self.row_length:,}"
            )
        memory = {
            "weights": f"{_size(self.weight_bytes)}, {self.parameters:,} parameters",
            "gradients": _size(self.gradient_bytes),
            "optimizer state": f"{_size(self.slot_bytes)} ({self.optimizer})",
            "averaged weights": _size(self.average_bytes) if self.average_bytes else "none",
            **({"sums of layers": _size(self.counter_bytes)} if self.counter_bytes >= _SHOWN_BYTES else {}),
            "activations": activations,
            "weight update": _size(self.update_bytes),
            "needed": f"{_size(self.needed_bytes)} in addition to the weights{_times(self.local_replicas)}",
            "free memory": f"{_size(self.available_bytes)} on {self.device}",
        }
        run = f"{self.total_steps:,} steps, {self.total_tokens:,} tokens"
        rows = [*memory.items(), ("run", run), *(("stage", stage) for stage in self.stages)]
        lines = [f"{name:17} {value}" for name, value in rows]
        lines += [f"problem: {problem}" for problem in self.problems]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def preflight(
    model: keras.Model,
    config: TrainingConfig,
    plan: TrainingPlan,
    stage_data: Sequence[StageData],
    tokenizer: Any,
    num_replicas: int = 1,
) -> Preflight:
    """Checks model, plan and the first rows of each stage; nothing large is allocated.

    Args:
        model: The model that will be trained, its weights made.
        config: The run's configuration.
        plan: What `Trainer.plan` returned.
        stage_data: The stages' rows, in the plan's order.
        tokenizer: The run's tokenizer.
        num_replicas: Devices that share a step, on all machines.
    """
    weights = largest_selection(model, [row.trainable for row in plan.stages])
    gradient = sum(_bytes(weight) for weight in weights)
    slots = _slot_bytes(model, config, weights)
    # Those of an optimizer of Keras are among its slots.
    averages = gradient if config.ema_momentum is not None else 0
    own = {id(variable) for variable in model.variables}
    counters = [variable for variable in all_variables(model) if id(variable) not in own]
    estimates = [
        (
            activation_bytes(
                model,
                data.config.batch_size * data.objective.sequences_per_row,
                data.config.max_seq_length,
            ),
            data,
        )
        for data in stage_data
    ]
    activations, largest = max(estimates, key=lambda pair: (pair[0] or 0, pair[1].config.max_seq_length))
    device, available, local_devices = _device()
    checks = [check_stage(data, row, tokenizer) for data, row in zip(stage_data, plan.stages, strict=True)]
    report = Preflight(
        parameters=num_parameters(model),
        weight_bytes=sum(_bytes(weight) for weight in model.weights),
        gradient_bytes=2 * gradient,
        slot_bytes=slots,
        average_bytes=averages,
        counter_bytes=2 * sum(map(_bytes, counters)),
        activation_bytes=activations,
        update_bytes=gradient + slots + averages,
        available_bytes=available,
        device=device,
        local_replicas=1 if device != _MACHINE else min(num_replicas, local_devices),
        batch_size=largest.config.batch_size,
        row_length=largest.config.max_seq_length,
        rows_per_step=[data.rows_per_step for data in stage_data],
        optimizer=optimizer_name(config.optimizer),
        total_steps=plan.total_steps,
        total_tokens=sum(row.steps * row.rows_per_step * row.row_length for row in plan.stages),
        stages=checks,
        problems=[
            *_trainable_problems(model),
            *tokenizer_problems(model, tokenizer, writes_text=any(map(trains_language, stage_data))),
            *(p for check in checks for p in check.problems),
        ],
        warnings=[warning for check in checks for warning in check.warnings],
    )
    return dataclasses.replace(report, warnings=[*_memory_warnings(report), *report.warnings])


def require_trainable(model: keras.Model) -> None:
    """Checks, before any data is read, that the model has weights to train.

    Raises:
        ConfigError: it has none.
    """
    for problem in _trainable_problems(model):
        raise ConfigError(problem)


def require_memory(
    model: keras.Model,
    config: TrainingConfig,
    allow_oversize: bool = False,
    trainable: Sequence[Sequence[str] | None] = (None,),
) -> None:
    """Checks, before any data is read, that gradients and the optimizer's slots fit next to the weights.

    Args:
        model: The model.
        config: Names the optimizer.
        allow_oversize: Whether to skip the check.
        trainable: Patterns of the weights that each stage trains.

    Raises:
        ConfigError: a pattern selects no weight.
        LimitExceededError: they do not fit, and `allow_oversize` is false.
    """
    weights = largest_selection(model, trainable)
    needed = sum(_bytes(weight) for weight in weights) + _slot_bytes(model, config, weights)
    name = optimizer_name(config.optimizer)
    device, available, _ = _device()
    if needed > available and not allow_oversize:
        raise LimitExceededError(
            f"training {num_parameters(model):,} parameters needs {_size(needed)} for gradients and the "
            f"slots of {name} in addition to the weights; {device} has {_size(available)} free. "
            "Choose a smaller preset or an optimizer with fewer slots, or pass allow_oversize=True"
        )


def require_memory_for_rows(
    configs: Sequence[TrainingConfig], num_replicas: int = 1, allow_oversize: bool = False
) -> None:
    """Checks, before any data is read, that the rows of one optimizer step fit into memory.

    Args:
        configs: Of the stages of the run.
        num_replicas: Devices that share a step, on all machines.
        allow_oversize: Whether to skip the check.

    Raises:
        LimitExceededError: they cannot, and `allow_oversize` is false.
    """
    available = available_memory()
    for config in configs:
        rows = config.batch_size * config.gradient_accumulation_steps
        if config.global_batch_size is not None:
            rows = config.global_batch_size // num_replicas
        needed = rows * config.max_seq_length * _BYTES_OF_TOKEN
        if needed > available and not allow_oversize:
            raise LimitExceededError(
                f"the rows of one step, {rows:,} of {config.max_seq_length:,} tokens, need {_size(needed)}, "
                f"and {_size(available)} are free; lower `batch_size`, `gradient_accumulation_steps` or "
                "`max_seq_length`, or pass allow_oversize=True"
            )


def describe_out_of_memory(preflight: Preflight, error: BaseException) -> str:
    """Returns the message for a first step that ran out of memory: the figures, and what to do.

    Args:
        preflight: Of the run.
        error: A `MemoryError` or `tf.errors.ResourceExhaustedError`.
    """
    figures = preflight
    activations = "unknown"
    if figures.activation_bytes is not None:
        activations = f"about {_size(figures.activation_bytes)}"
    reason = " ".join(str(error).split()) or type(error).__name__
    lines = [
        f"the first step ran out of memory on {figures.device} ({reason[:200]}).",
        f"In addition to weights of {_size(figures.weight_bytes)} it needs {_size(figures.gradient_bytes)} "
        f"for gradients, {_size(figures.slot_bytes + figures.average_bytes)} for {figures.optimizer}'s slots "
        f"and averages and {activations} for the activations of a micro-batch of {figures.batch_size} rows "
        f"of {figures.row_length:,} tokens{_times(figures.local_replicas)}; {_size(figures.available_bytes)} "
        "were free before it.",
        "Any of these helps:",
    ]
    if figures.batch_size > 1:
        rows = figures.batch_size
        smaller = next(size for size in range(rows // 2, 0, -1) if rows % size == 0)
        lines.append(
            f"- batch_size={smaller} with {rows // smaller} times the gradient_accumulation_steps: the same "
            "global batch and the same weights"
        )
        lines.append("- auto_batch=True, which does that by itself until a step fits")
    lines.append("- model.gradient_checkpointing_enable(): only one block's activations, but a slower step")
    if figures.optimizer in ("adamw", "muon"):
        lines.append('- optimizer="lion" with one slot a weight, or "adafactor" with next to none')
    lines.append("- a shorter max_seq_length, or a smaller model")
    return "\n".join(lines)


_MACHINE = "this machine"


def _trainable_problems(model: keras.Model) -> list[str]:
    if model.trainable_weights:
        return []
    if not model.weights:
        return ["the model has no weights; build it first, for instance by calling it on a batch"]
    return [
        f"all {len(model.weights)} weights of the model are frozen, so there is nothing to train; set "
        "`trainable = True` on the model or on some of its layers, or call `enable_lora`"
    ]


def _memory_warnings(report: Preflight) -> list[str]:
    fraction = report.needed_bytes / max(report.available_bytes, 1)
    if fraction <= _TIGHT:
        return []
    verdict = "more than it has" if fraction > 1 else "little less than it has"
    return [
        f"the first step needs {_size(report.needed_bytes)} of {report.device}'s free "
        f"{_size(report.available_bytes)}, {verdict}: lower `batch_size` and raise "
        "`gradient_accumulation_steps`"
    ]


def _slot_bytes(model: keras.Model, config: TrainingConfig, weights: Sequence[keras.Variable]) -> int:
    """Computed from an optimizer that is not built, so that nothing is allocated.

    One of Keras does not tell the shapes of its slots: they are those of a small matrix, scaled.
    """
    if is_of_keras(config.optimizer):
        per_weight = slots_per_weight(config.optimizer)
        return int(per_weight * sum(_bytes(weight) for weight in model.trainable_weights))
    optimizer = _optimizer(model, config)
    shapes = [shape for weight in weights for shape in optimizer.slot_shapes(weight).values()]
    return sum(4 * math.prod(shape) for shape in shapes)


def _optimizer(model: keras.Model, config: TrainingConfig) -> FunctionalOptimizer:
    if config.optimizer == "muon":
        return Muon(matrix_shapes=matrix_shapes(model))
    return {"adamw": AdamW, "adafactor": Adafactor, "lion": Lion}[config.optimizer]()


def _bytes(weight: keras.Variable) -> int:
    return math.prod(weight.shape) * weight.value.dtype.size


def _device() -> tuple[str, int, int]:
    """Returns the name of the device, its free bytes, and the number of such devices of this process."""
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return _MACHINE, available_memory(), len(tf.config.list_logical_devices("CPU"))
    from tensorflow.python.client import device_lib

    devices = device_lib.list_local_devices()
    limits = [device.memory_limit for device in devices if device.device_type == "GPU"]
    name = gpus[0].name.removeprefix("/device:")
    return name, min(limits) - tf.config.experimental.get_memory_info(name)["current"], len(gpus)


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _times(replicas: int) -> str:
    return f", for each of {replicas} replicas here" if replicas > 1 else ""


def num_parameters(model: keras.Model) -> int:
    """Returns the number of values in a model's weights, also of one that was loaded and not called yet."""
    return sum(math.prod(weight.shape) for weight in model.weights)
