"""What a checkpoint or a saved model holds, read from its files without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from safetensors import SafetensorError, safe_open

from highnoon.training.checkpoint import (
    MANIFEST,
    ROLES,
    STATE,
    CheckpointError,
    damage,
    folder_of,
    step_folders,
)

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
SLOTS = "optimizer/"
_COUNTERS = (f"{SLOTS}iteration", f"{SLOTS}learning_rate_factor")
_AVERAGE = "_average"


@dataclasses.dataclass(frozen=True)
class ArrayTotals:
    """How much a group of arrays holds.

    Args:
        num_arrays: Arrays.
        num_values: Numbers in all of them.
        num_bytes: Their bytes in the file.
    """

    num_arrays: int
    num_values: int
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class CheckpointFacts:
    """What is known of one folder; None where its files do not say or cannot be read.

    Args:
        folder: Where it is.
        kind: `"checkpoint"` (a trainer's too), or `"model"` for a saved model without a run.
        damage: What is wrong with it, or None where it is whole.
        roles: Those that name it in the directory it lies in.
        run_id: Of the run that wrote it.
        step: Optimizer steps taken.
        total_steps: Steps of the plan.
        stage: Name of the stage it stands in; None once all are complete.
        stage_number: From 1; `num_stages` once all are complete.
        num_stages: Stages of the plan.
        epoch: Complete epochs of the stage.
        num_epochs: Epochs of the stage, None where its length is given in steps.
        step_in_epoch: Steps taken in the epoch that is going on.
        stage_step: Steps taken in the stage.
        stage_steps: Steps that the plan gives the stage.
        tokens_seen: Supervised tokens of complete epochs.
        weights: Of the model.
        slots: What the optimizer remembers of the weights.
        averages: The moving average of the weights.
        optimizer: Its name in the training configuration.
        learning_rate: Peak of the stage in nats-free units of the optimizer, times what faults cut it by.
        schedule: How the rate moves from there.
        train_loss: Mean of the epoch going on, else of the last complete one, in nats a token.
        val_loss: Of the last evaluation at an epoch's end.
        lowest_val_loss: Of any evaluation of the run.
        versions: Of the packages that wrote it.
    """

    folder: str
    kind: str
    damage: str | None
    roles: list[str]
    run_id: str | None
    step: int | None
    total_steps: int | None
    stage: str | None
    stage_number: int | None
    num_stages: int | None
    epoch: int | None
    num_epochs: int | None
    step_in_epoch: int | None
    stage_step: int | None
    stage_steps: int | None
    tokens_seen: float | None
    weights: ArrayTotals | None
    slots: ArrayTotals | None
    averages: ArrayTotals | None
    optimizer: str | None
    learning_rate: float | None
    schedule: str | None
    train_loss: float | None
    val_loss: float | None
    lowest_val_loss: float | None
    versions: dict[str, str]


def find_folders(path: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the folders that `path` means, whole or not: several only for a directory of checkpoints.

    Args:
        path: A checkpoint, a directory of them, a role in one (`latest`, `best`, `final`, `interrupted`),
            a saved model or trainer.

    Raises:
        CheckpointError: it is none of these, or a role that nothing has.
    """
    wanted = pathlib.Path(path)
    if wanted.name in ROLES and wanted.is_file():
        folder = folder_of(wanted.parent, wanted.name)
        if folder is None or not folder.is_dir():
            raise CheckpointError(f"{wanted} names {folder and folder.name}, which is not there")
        return [folder]
    if folders := step_folders(wanted):
        return folders
    if _is_ours(wanted):
        return [wanted]
    what = "holds nothing of a model or a checkpoint" if wanted.exists() else "does not exist"
    raise CheckpointError(
        f"nothing to inspect at {wanted}: it {what}; expected a step_* folder, a directory of them, one of "
        f"its {', '.join(f'`{role}`' for role in ROLES)}, or a saved model or trainer"
    )


def inspect_folder(folder: pathlib.Path) -> CheckpointFacts:
    """Returns what is known of a folder; one that is damaged tells what can still be read."""
    state, description = read_json(folder / STATE), read_json(folder / CONFIG_FILE)
    kind = "checkpoint" if _is_checkpoint(folder) else "model"
    training = state.get("training_config") or description.get("training") or {}
    optimizer_totals = _totals(folder / OPTIMIZER_FILE)
    averages = _sum_of(optimizer_totals, is_average=True) if training.get("ema_momentum") else None
    return CheckpointFacts(
        folder=str(folder),
        kind=kind,
        damage=damage(folder) if kind == "checkpoint" else _model_damage(folder),
        roles=[role for role in ROLES if folder_of(folder.parent, role) == folder],
        run_id=state.get("run_id"),
        weights=_sum_of(_totals(folder / WEIGHTS_FILE)),
        slots=_sum_of(optimizer_totals, is_average=False if averages else None),
        averages=averages,
        optimizer=training.get("optimizer"),
        schedule=training.get("schedule"),
        versions=state.get("versions") or _versions(description),
        **_place(state),
        **_losses((state.get("run") or {}).get("progress") or {}),
        learning_rate=_learning_rate(state, training, folder),
    )


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns a file's mapping, an empty one where there is none that can be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def array_shapes(path: pathlib.Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Returns shape and dtype of every array of a safetensors file, from its header alone.

    Raises:
        CheckpointError: there is no such file, or it is not whole.
    """
    try:
        with safe_open(path, framework="numpy") as arrays:
            slices = {name: arrays.get_slice(name) for name in arrays.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error


def _is_checkpoint(folder: pathlib.Path) -> bool:
    return any((folder / name).exists() for name in (MANIFEST, STATE)) or folder in step_folders(folder.parent)


def _is_ours(folder: pathlib.Path) -> bool:
    if not folder.is_dir():
        return False
    description = read_json(folder / CONFIG_FILE)
    has_weights = (folder / WEIGHTS_FILE).exists()
    return _is_checkpoint(folder) or description.get("format") == "highnoon-model" or (
        has_weights and not description
    )


def _model_damage(folder: pathlib.Path) -> str | None:
    """A saved model has no manifest: its configuration and the header of its weights are looked at."""
    if not read_json(folder / CONFIG_FILE):
        return f"{CONFIG_FILE} is missing or cannot be read"
    try:
        array_shapes(folder / WEIGHTS_FILE)
    except CheckpointError as error:
        return str(error)
    return None


def _versions(description: dict[str, Any]) -> dict[str, str]:
    version = description.get("highnoon_version")
    return {"highnoon": version} if version else {}


def _place(state: dict[str, Any]) -> dict[str, Any]:
    progress = (state.get("run") or {}).get("progress") or {}
    stages = (state.get("plan") or {}).get("stages") or []
    index = progress.get("stage")
    now = stages[index] if index is not None and index < len(stages) else {}
    kept = ("step", "epoch", "step_in_epoch", "stage_step", "tokens_seen")
    return {
        **{key: progress.get(key) for key in kept},
        "total_steps": sum(stage["steps"] for stage in stages) if stages else None,
        "stage": now.get("name"),
        "stage_number": None if index is None else min(index + 1, len(stages)),
        "num_stages": len(stages) or None,
        "num_epochs": now.get("epochs"),
        "stage_steps": now.get("steps"),
    }


def _losses(progress: dict[str, Any]) -> dict[str, float | None]:
    """A stage that has no complete epoch yet tells the losses of the one before."""
    before = (progress.get("stages_completed") or [{}])[-1]
    train_loss = progress.get("train_loss")
    if progress.get("step_in_epoch") and progress.get("token_total"):
        train_loss = progress["loss_total"] / progress["token_total"]
    val_loss = progress.get("val_loss")
    return {
        "train_loss": before.get("final_loss") if train_loss is None else train_loss,
        "val_loss": before.get("val_loss") if val_loss is None else val_loss,
        "lowest_val_loss": progress.get("lowest_val_loss"),
    }


def _learning_rate(state: dict[str, Any], training: dict[str, Any], folder: pathlib.Path) -> float | None:
    place = _place(state)
    stages = (state.get("plan") or {}).get("stages") or []
    number = place["stage_number"]
    peak = stages[number - 1]["learning_rate"] if stages and number else training.get("learning_rate")
    factor = 1.0
    try:
        with safe_open(folder / OPTIMIZER_FILE, framework="numpy") as arrays:
            factor = float(arrays.get_tensor(_COUNTERS[1]))
    except (OSError, SafetensorError):
        pass
    return None if peak is None else peak * factor


def _totals(path: pathlib.Path) -> Iterator[tuple[str, int, int]] | None:
    try:
        shapes = array_shapes(path)
    except CheckpointError:
        return None
    return [(name, *_size(shape, dtype)) for name, (shape, dtype) in shapes.items()]
