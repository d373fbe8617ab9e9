"""In what two checkpoints differ: fields, and arrays one at a time, without TensorFlow."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np
from safetensors import SafetensorError, safe_open

from highnoon.config import canonical_keys
from highnoon.training.checkpoints.adapter_facts import AdapterFacts, is_adapter
from highnoon.training.checkpoints.inspection import (
    OPTIMIZER_FILE,
    WEIGHTS_FILE,
    is_slot,
    read_description_or_nothing,
    read_state_or_nothing,
)

NUM_LARGEST = 10


@dataclasses.dataclass(frozen=True)
class FieldDifference:
    """A value that two checkpoints do not share.

    Args:
        group: `"model"`, `"training"`, `"plan"`, `"progress"`, `"run"` or `"versions"`.
        key: Path of the value, with dots.
        one: In the first; None where it is absent.
        other: In the second.
    """

    group: str
    key: str
    one: Any
    other: Any


@dataclasses.dataclass(frozen=True)
class ArrayChange:
    """How far an array has moved.

    Args:
        name: Its name.
        relative_norm: `|other - one| / |one|`; None where `one` is all zeros or a norm is not finite.
    """

    name: str
    relative_norm: float | None


@dataclasses.dataclass(frozen=True)
class ArrayDifferences:
    """In what the arrays of one kind differ.

    Args:
        group: `"weights"`, `"slots"` (averages among them) or `"other state"`: counters, dropout's seeds.
        problem: Why they could not be compared, or None.
        is_identical: Whether both have the same names, shapes and bits.
        num_compared: Arrays of equal name, shape and dtype.
        num_changed: Those of them whose bits differ.
        only_in_one: Names that the second lacks.
        only_in_other: Names that the first lacks.
        reshaped: Names with shape and dtype in the first and in the second, where these differ.
        largest: The changed arrays that moved farthest, at most ten.
    """

    group: str
    problem: str | None
    is_identical: bool
    num_compared: int = 0
    num_changed: int = 0
    only_in_one: list[str] = dataclasses.field(default_factory=list)
    only_in_other: list[str] = dataclasses.field(default_factory=list)
    reshaped: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    largest: list[ArrayChange] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class CheckpointDifferences:
    """All in which two folders differ.

    Args:
        one: The first folder.
        other: The second.
        fields: Values that differ.
        arrays: One entry a kind of arrays that either folder has.
    """

    one: str
    other: str
    fields: list[FieldDifference]
    arrays: list[ArrayDifferences]


def compare_folders(one: pathlib.Path, other: pathlib.Path) -> CheckpointDifferences:
    """Compares two checkpoints or saved models; what is damaged is described instead."""
    fields = []
    ours, theirs = _fields(one), _fields(other)
    for field in sorted({*ours, *theirs}):
        if ours.get(field) != theirs.get(field):
            fields.append(FieldDifference(*field, ours.get(field), theirs.get(field)))
    arrays = [_compare_arrays("weights", _weights_file(one), _weights_file(other), lambda name: True)]
    both = one / OPTIMIZER_FILE, other / OPTIMIZER_FILE
    if any(path.exists() for path in both):
        arrays.append(_compare_arrays("slots", *both, is_slot))
        arrays.append(_compare_arrays("other state", *both, lambda name: not is_slot(name)))
    return CheckpointDifferences(str(one), str(other), fields, arrays)


def _weights_file(folder: pathlib.Path) -> pathlib.Path:
    return AdapterFacts.read(folder).factors if is_adapter(folder) else folder / WEIGHTS_FILE


def _fields(folder: pathlib.Path) -> dict[tuple[str, str], Any]:
    """Returns values by group and key."""
    state, description = read_state_or_nothing(folder), read_description_or_nothing(folder)
    run = state.get("run") or {}
    adapter = dataclasses.asdict(AdapterFacts.read(folder)) if is_adapter(folder) else {}
    groups = {
        "adapter": {key: adapter.get(key) for key in ("base", "rank", "num_layers")},
        "model": description.get("model"),
        "training": canonical_keys(state.get("training_config") or description.get("training") or {}),
        "plan": state.get("plan"),
        "progress": {**(run.get("progress") or {}), "schedulers": run.get("schedulers")},
        "run": {key: state.get(key) for key in ("run_id", "epochs_per_stage", "weight_mode")},
        "versions": state.get("versions") or {"highnoon": description.get("highnoon_version")},
    }
    return {(group, key): value for group, values in groups.items() for key, value in _leaves(values or {})}


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields what is nested under its path; entries of a list are under their name, else their index."""
    if isinstance(values, list) and any(isinstance(value, dict) for value in values):
        values = {str(_name(value) or index): value for index, value in enumerate(values)}
    if not isinstance(values, dict):
        yield path, values
        return
    for key, value in values.items():
        yield from _leaves(value, f"{path}.{key}" if path else key)


def _name(value: Any) -> str | None:
    return value.get("name") if isinstance(value, dict) else None


def _compare_arrays(
    group: str, one: pathlib.Path, other: pathlib.Path, belongs: Callable[[str], bool]
) -> ArrayDifferences:
    """Holds one pair of arrays at a time."""
    try:
        with safe_open(one, framework="numpy") as ours, safe_open(other, framework="numpy") as theirs:
            names, others = ({name for name in file.keys() if belongs(name)} for file in (ours, theirs))  # noqa: SIM118
            forms = {name: (_form(ours, name), _form(theirs, name)) for name in sorted(names & others)}
            alike = [name for name, (form, other_form) in forms.items() if form == other_form]
            moves = ((name, _relative_norm(ours.get_tensor(name), theirs.get_tensor(name))) for name in alike)
            changes = [ArrayChange(name, norm) for name, norm in moves if norm != 0.0]
    except (OSError, SafetensorError) as error:
        return ArrayDifferences(group, f"a file cannot be read: {error}", is_identical=False)
    reshaped = [(name, *both) for name, both in forms.items() if name not in set(alike)]
    return ArrayDifferences(
        group=group,
        problem=None,
        is_identical=not changes and not reshaped and names == others,
        num_compared=len(alike),
        num_changed=len(changes),
        only_in_one=sorted(names - others),
        only_in_other=sorted(others - names),
        reshaped=reshaped,
        largest=sorted(changes, key=_rank)[:NUM_LARGEST],
    )


def _form(arrays: Any, name: str) -> str:
    part = arrays.get_slice(name)
    return f"{part.get_dtype()} {tuple(part.get_shape())}"


def _relative_norm(one: np.ndarray, other: np.ndarray) -> float | None:
    """Returns 0 for equal bits alone, and None where there is nothing to divide by."""
    if one.tobytes() == other.tobytes():
        return 0.0
    before, after = one.astype("float64"), other.astype("float64")
    size, distance = float(np.linalg.norm(before)), float(np.linalg.norm(after - before))
    if not (size > 0 and np.isfinite(size) and np.isfinite(distance)):
        return None
    return max(distance / size, np.finfo("float64").tiny)  # bits that differ are a change: -0.0 is not 0.0


def _rank(change: ArrayChange) -> float:
    return -np.inf if change.relative_norm is None else -change.relative_norm
