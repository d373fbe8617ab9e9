"""What a checkpoint or a saved model holds, read from its files without TensorFlow."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from safetensors import SafetensorError, safe_open

from highnoon.files.expand_home import expand_home
from highnoon.files.folder_content import folder_content
from highnoon.files.folder_manifest import DamagedFolderError, file_damage, has_manifest, read_manifest
from highnoon.files.foreign import ForeignDataError
from highnoon.files.foreign import read_json as read_foreign_json
from highnoon.files.step_folders import (
    ROLES,
    CheckpointError,
    folder_of,
    in_checkpoints,
    roles_of,
    step_folders,
)
from highnoon.files.whole_folder import recover_folder
from highnoon.training.checkpoints.adapter_facts import AdapterFacts, is_adapter
from highnoon.training.checkpoints.checkpoint import STATE, damage
from highnoon.training.checkpoints.checkpoint_state import state_problem

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
        kind: `"checkpoint"` (a trainer's too), `"model"` for a saved model without a run, or `"adapter"`
            for LoRA factors alone.
        damage: What is wrong with it; None if it is undamaged.
        roles: Those that name it in its directory.
        run_id: Of the run that wrote it.
        step: Optimizer steps taken.
        total_steps: Steps of the plan.
        stage: Name of the current stage; None once all are complete.
        stage_number: From 1; `num_stages` once all are complete.
        num_stages: Stages of the plan.
        epoch: Complete epochs of the stage.
        num_epochs: Epochs of the stage, None where its length is given in steps.
        step_in_epoch: Steps taken in the current epoch.
        stage_step: Steps taken in the stage.
        stage_steps: Steps that the plan gives the stage.
        tokens_seen: Supervised tokens of complete epochs.
        weights: Of the model.
        slots: What the optimizer remembers of the weights.
        averages: The moving average of the weights.
        optimizer: Its name in the training configuration.
        peak_learning_rate: Of the stage, before the warm-up and the schedule.
        learning_rate_factor: What it is multiplied by since faults cut it; 1 at first.
        schedule: Its course after the warm-up.
        train_loss: Mean of the current epoch, else of the last complete one, in nats a token.
        val_loss: Of the last evaluation at an epoch's end.
        lowest_val_loss: Of any evaluation of the run.
        versions: Of the packages that wrote it.
        run_name: What the user calls the run; None for nothing.
        base: Of an adapter, the model that it belongs to.
        lora_rank: Of an adapter, the rank of its factors.
        num_lora_layers: Of an adapter, how many layers have factors.
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
    peak_learning_rate: float | None
    learning_rate_factor: float | None
    schedule: str | None
    train_loss: float | None
    val_loss: float | None
    lowest_val_loss: float | None
    versions: dict[str, str]
    run_name: str | None = None
    base: str | None = None
    lora_rank: str | None = None
    num_lora_layers: int | None = None


def find_folders(path: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the folders that `path` names, damaged or not: several only for a directory of checkpoints.

    Args:
        path: A checkpoint, a directory of them, a role in one (`latest`, `best`, `final`, `interrupted`),
            the folder of a run, a saved model or trainer.

    Raises:
        CheckpointError: it is none of these, or a role that nothing has.
    """
    wanted = in_checkpoints(expand_home(path))
    recover_folder(wanted)
    if wanted.name in ROLES and wanted.is_file():
        folder = folder_of(wanted.parent, wanted.name)
        if folder is None or not folder.is_dir():
            raise CheckpointError(f"{wanted} names {folder and folder.name}, which is not there")
        return [folder]
    if folders := step_folders(wanted):
        return folders
    if _is_ours(wanted) or is_adapter(wanted):
        return [wanted]
    what = folder_content(wanted)
    if wanted.name in ROLES and not wanted.exists() and step_folders(wanted.parent):
        what = "it is a role that no checkpoint there has"
    raise CheckpointError(
        f"nothing to inspect at {wanted}: {what}; expected a step_* folder, a directory of them, one of "
        f"its {', '.join(f'`{role}`' for role in ROLES)}, the folder of a run, a saved model or "
        "trainer, or an adapter; as in: highnoon inspect my-run"
    )


def inspect_folder(folder: pathlib.Path) -> CheckpointFacts:
    """Returns what is known of a folder; one that is damaged tells what can still be read."""
    if is_adapter(folder):
        return _adapter(folder)
    state, description = read_state_or_nothing(folder), read_description_or_nothing(folder)
    training = state.get("training_config") or description.get("training") or {}
    run = state.get("run") or {}
    resolved = folder.resolve()
    has_averages = training.get("ema_momentum") is not None
    is_checkpoint = _is_checkpoint(folder)
    return CheckpointFacts(
        folder=str(folder),
        kind="checkpoint" if is_checkpoint else "model",
        damage=damage(folder) if is_checkpoint else _model_damage(folder),
        roles=roles_of(resolved),
        run_id=state.get("run_id"),
        weights=_totals(folder / WEIGHTS_FILE, lambda name: True),
        slots=_totals(
            folder / OPTIMIZER_FILE,
            lambda name: is_slot(name) and not (has_averages and name.endswith(_AVERAGE)),
        ),
        averages=_totals(folder / OPTIMIZER_FILE, lambda name: name.endswith(_AVERAGE))
        if has_averages
        else None,
        optimizer=_optimizer_name(training.get("optimizer")),
        learning_rate_factor=_number(folder / OPTIMIZER_FILE, f"{SLOTS}learning_rate_factor"),
        schedule=_schedule_name(training),
        versions=state.get("versions") or _versions(description),
        run_name=state.get("run_name"),
        **_position(state.get("plan") or {}, run.get("progress") or {}, training),
        **_losses(run.get("progress") or {}),
    )


def _adapter(folder: pathlib.Path) -> CheckpointFacts:
    facts = AdapterFacts.read(folder)
    damage = facts.damage or (_manifest_damage(folder) if has_manifest(folder) else None)
    empty: dict[str, Any] = {field.name: None for field in dataclasses.fields(CheckpointFacts)}
    known: dict[str, Any] = {
        "folder": str(folder),
        "kind": "adapter",
        "damage": damage,
        "roles": [],
        "weights": _totals(facts.factors, lambda name: True),
        "versions": {"highnoon": facts.highnoon_version} if facts.highnoon_version else {},
        "base": facts.base,
        "lora_rank": facts.rank,
        "num_lora_layers": facts.num_layers,
    }
    return CheckpointFacts(**(empty | known))


def _manifest_damage(folder: pathlib.Path) -> str | None:
    try:
        return file_damage(folder, read_manifest(folder))
    except DamagedFolderError as error:
        return str(error)


def _optimizer_name(optimizer: Any) -> str | None:
    """Returns the name of an optimizer; those of Keras are mappings."""
    return optimizer.get("class_name") if isinstance(optimizer, dict) else optimizer


def _schedule_name(training: dict[str, Any]) -> str | None:
    """Returns the name of the learning rate's schedule: that of an optimizer of Keras, or the run's own."""
    optimizer = training.get("optimizer")
    config = optimizer.get("config") if isinstance(optimizer, dict) else None
    rate = config.get("learning_rate") if isinstance(config, dict) else None
    return rate.get("class_name") if isinstance(rate, dict) else training.get("schedule")


def is_slot(name: str) -> bool:
    """Whether an array of `optimizer.safetensors` belongs to a weight."""
    return name.startswith(SLOTS) and name not in _COUNTERS


def read_state_or_nothing(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the values of a checkpoint's state, none where they cannot be read or do not fit."""
    values = _read_json(folder / STATE)
    return {} if state_problem(values) else values


def read_description_or_nothing(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the description of a folder's model, empty where it cannot be read or does not fit."""
    values = _read_json(folder / CONFIG_FILE)
    parts = [values.get("model") or {}, values.get("training") or {}]
    version = values.get("highnoon_version")
    fits = all(isinstance(part, dict) for part in parts) and isinstance(version, (str, type(None)))
    return values if fits else {}


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return read_foreign_json(path)
    except (OSError, ForeignDataError):
        return {}


def _is_checkpoint(folder: pathlib.Path) -> bool:
    return (folder / STATE).exists() or folder in step_folders(folder.parent)


def _is_ours(folder: pathlib.Path) -> bool:
    if not folder.is_dir():
        return False
    description = _read_json(folder / CONFIG_FILE)
    is_model = description.get("format") == "highnoon-model"
    return is_model or _is_checkpoint(folder) or ((folder / WEIGHTS_FILE).exists() and not description)


def _model_damage(folder: pathlib.Path) -> str | None:
    """Of a model without a manifest, its configuration and the header of its weights are looked at."""
    if not read_description_or_nothing(folder):
        return f"{CONFIG_FILE} is missing or cannot be read"
    if has_manifest(folder):
        return _manifest_damage(folder)
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy"):
            return None
    except (OSError, SafetensorError) as error:
        return f"{WEIGHTS_FILE} cannot be read ({error})"


def _versions(description: dict[str, Any]) -> dict[str, str]:
    version = description.get("highnoon_version")
    return {"highnoon": version} if version else {}


def _position(plan: dict[str, Any], progress: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """Returns the position of a run; a complete one has the learning rate of its last stage."""
    stages, index = plan.get("stages") or [], progress.get("stage")
    now = stages[index] if index is not None and index < len(stages) else {}
    last = now or (stages[-1] if stages else {})
    return {
        "step": progress.get("step"),
        "total_steps": sum(stage["steps"] for stage in stages) if stages else None,
        "stage": now.get("name"),
        "stage_number": None if index is None else min(index + 1, len(stages)),
        "num_stages": len(stages) or None,
        "epoch": progress.get("epoch") if now else None,
        "num_epochs": now.get("epochs"),
        "step_in_epoch": _step_in_epoch(progress) if now else None,
        "stage_step": progress.get("stage_step") if now else None,
        "stage_steps": now.get("steps"),
        "tokens_seen": progress.get("tokens_seen"),
        "peak_learning_rate": last.get("learning_rate", training.get("learning_rate")),
    }


def _step_in_epoch(progress: dict[str, Any]) -> int | None:
    """Returns 0 between two epochs, where the run still has the count of the one that ended."""
    return 0 if progress.get("num_allowed") == 0 else progress.get("step_in_epoch")


def _losses(progress: dict[str, Any]) -> dict[str, Any]:
    """A stage that has no complete epoch yet tells the losses of the one before."""
    before = (progress.get("stages_completed") or [{}])[-1]
    train_loss, val_loss = progress.get("train_loss"), progress.get("val_loss")
    if progress.get("step_in_epoch") and progress.get("token_total"):
        train_loss = progress["loss_total"] / progress["token_total"]
    return {
        "train_loss": before.get("final_loss") if train_loss is None else train_loss,
        "val_loss": before.get("val_loss") if val_loss is None else val_loss,
        "lowest_val_loss": progress.get("lowest_val_loss"),
    }


def _totals(path: pathlib.Path, is_counted: Callable[[str], bool]) -> ArrayTotals | None:
    """Reads the header of a safetensors file alone."""
    try:
        with safe_open(path, framework="numpy") as arrays:
            slices = [arrays.get_slice(name) for name in arrays.keys() if is_counted(name)]  # noqa: SIM118
            sizes = [(math.prod(part.get_shape()), _width(part.get_dtype())) for part in slices]
    except (OSError, SafetensorError):
        return None
    return ArrayTotals(len(sizes), sum(size for size, _ in sizes), sum(size * width for size, width in sizes))


def _width(dtype: str) -> int:
    """Bytes of one value: `F32`, `BF16`, `F8_E4M3`, `BOOL` name their bits, but for the last."""
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 1


def _number(path: pathlib.Path, name: str) -> float | None:
    try:
        with safe_open(path, framework="numpy") as arrays:
            return float(arrays.get_tensor(name).item())
    except (OSError, SafetensorError, TypeError, ValueError):
        return None
