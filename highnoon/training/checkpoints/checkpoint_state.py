"""The form of `state.json`: which fields a trainer writes, and of which types."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from highnoon.files.shown import shown
from highnoon.training.runs.history import history_problem
from highnoon.training.runs.progress import Progress
from highnoon.training.runs.run_folder import is_run_folder

_NUMBER = (int, float)
_FORM: dict[str, tuple[type, ...]] = {
    "run_id": (str,),
    "epochs_per_stage": (int,),
    "weight_mode": (str,),
    "training_config": (dict,),
    "packing": (bool,),
    "data_dir": (str, type(None)),
    "stages": (list,),
    "plan": (dict, type(None)),
    "run": (dict, type(None)),
}
_OPTIONAL: dict[str, tuple[type, ...]] = {
    "versions": (dict,),
    "format": (int,),
    "learner": (dict,),
    "weight_paths": (list,),
    "run_name": (str, type(None)),
    "run_folder": (str, type(None)),
}
_PLANNED_STAGE: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "steps": (int,),
    "epochs": (int, type(None)),
    "learning_rate": _NUMBER,
}
_COMPLETED_STAGE: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "final_loss": (*_NUMBER, type(None)),
    "val_loss": (*_NUMBER, type(None)),
    "epochs": (int,),
    "steps": (int,),
}
_CALLBACK: dict[str, tuple[type, ...]] = {"class": (str,), "values": (dict,), "lost": (list,)}
_ANNOTATIONS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": _NUMBER,
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "None": (type(None),),
}
_LISTS_OF_NUMBERS: dict[str, tuple[type, ...]] = {
    "mix_rows": (int,),
    "task_sums": _NUMBER,
    "logged": _NUMBER,
}
_SPAN_NUMBERS = 5
_RUN_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


def is_run_id(value: Any) -> bool:
    """Whether a value is the id of a run, which becomes the name of a folder."""
    return isinstance(value, str) and _RUN_ID.fullmatch(value) is not None


def state_problem(values: Mapping[str, Any], is_complete: bool = False) -> str | None:
    """Returns what does not fit in the values of a `state.json`, or None.

    Args:
        values: The values.
        is_complete: Whether a field that is missing is a problem too.
    """
    return next(_problems(values, is_complete), None)


def _problems(values: Mapping[str, Any], is_complete: bool) -> Iterator[str]:
    if is_complete:
        yield from (f"`{key}` is missing" for key in _FORM if key not in values)
    yield from _wrong_types(values, {**_FORM, **_OPTIONAL}, "")
    if any(True for _ in _wrong_types(values, {**_FORM, **_OPTIONAL}, "")):
        return
    if "run_id" in values and not is_run_id(values["run_id"]):
        yield f"`run_id` is {shown(values['run_id'], 40)}"
    if (folder := values.get("run_folder")) is not None and not is_run_folder(folder):
        yield f"`run_folder` is {shown(folder, 40)}"
    yield from (
        f"`versions` has {shown(value, 40)}"
        for value in values.get("versions", {}).values()
        if not isinstance(value, str)
    )
    yield from (
        f"`weight_paths` has {shown(path, 40)}"
        for path in values.get("weight_paths", [])
        if not isinstance(path, str)
    )
    yield from _learner_problems(values.get("learner"))
    yield from _entries(values.get("stages") or [], {"name": (str,)}, "stages")
    plan, run = values.get("plan") or {}, values.get("run") or {}
    yield from _wrong_types(plan, {"stages": (list,), "warmup_steps": (int,)}, "plan.")
    if isinstance(plan.get("stages"), list):
        yield from _entries(plan["stages"], _PLANNED_STAGE, "plan.stages", required=("steps",))
    if run:
        yield from _run_problems(run, is_complete)


def _learner_problems(learner: Mapping[str, Any] | None) -> Iterator[str]:
    """What is wrong with the weights that were trained, which older versions do not say."""
    if learner is None:
        return
    form: dict[str, tuple[type, ...]] = {"trainable": (list, type(None)), "slots_since": (list,)}
    yield from (f"`learner.{key}` is missing" for key in form if key not in learner)
    yield from _wrong_types(learner, form, "learner.")
    trainable, since = learner.get("trainable"), learner.get("slots_since")
    if isinstance(trainable, list) and not all(isinstance(pattern, str) for pattern in trainable):
        yield f"`learner.trainable` is {shown(trainable, 40)}"
    if isinstance(since, list) and not all(type(step) is int for step in since):
        yield f"`learner.slots_since` is {shown(since, 40)}"


def _run_problems(run: Mapping[str, Any], is_complete: bool) -> Iterator[str]:
    form: dict[str, tuple[type, ...]] = {"progress": (dict,), "schedulers": (list,), "callbacks": (list,)}
    if is_complete:
        yield from (f"`run.{key}` is missing" for key in form if key not in run)
    yield from _wrong_types(run, form, "run.")
    if isinstance(callbacks := run.get("callbacks"), list):
        yield from _entries(callbacks, _CALLBACK, "run.callbacks", required=("class", "values"))
    progress = run.get("progress")
    if not isinstance(progress, dict):
        return
    known = {field.name: _types_of(str(field.type)) for field in dataclasses.fields(Progress)}
    unknown = [key for key in progress if key not in known]
    yield from (f"`run.progress` has {shown(key, 40)} of another version" for key in unknown)
    yield from _wrong_types(progress, known, "run.progress.")
    if isinstance(completed := progress.get("stages_completed"), list):
        yield from _entries(
            completed,
            _COMPLETED_STAGE,
            "run.progress.stages_completed",
            required=tuple(_COMPLETED_STAGE) if is_complete else (),
        )
    for name, kinds in _LISTS_OF_NUMBERS.items():
        values = progress.get(name)
        if isinstance(values, list) and not all(type(value) in kinds for value in values):
            yield f"`run.progress.{name}` is {shown(values, 40)}"
    figures = progress.get("evaluated_figures")
    if isinstance(figures, dict) and not all(type(value) in _NUMBER for value in figures.values()):
        yield f"`run.progress.evaluated_figures` is {shown(figures, 40)}"
    if "history" in progress and (problem := history_problem(progress["history"])):
        yield f"`run.progress.history` is {shown(progress['history'], 40)}; {problem}"
    for span in progress.get("spans") or []:
        if not _is_span(span):
            yield f"`run.progress.spans` has {shown(span, 40)}"
    if (stage := progress.get("stage")) is not None and isinstance(stage, int) and stage < 0:
        yield f"`run.progress.stage` is {stage}"


def _is_span(span: Any) -> bool:
    return isinstance(span, list) and len(span) == _SPAN_NUMBERS and all(type(n) is int for n in span)


def _entries(
    values: list[Any], form: Mapping[str, tuple[type, ...]], name: str, required: tuple[str, ...] = ()
) -> Iterator[str]:
    for index, entry in enumerate(values):
        if not isinstance(entry, dict):
            yield f"`{name}[{index}]` is {shown(entry, 40)}"
            continue
        yield from (f"`{name}[{index}].{key}` is missing" for key in required if key not in entry)
        yield from _wrong_types(entry, form, f"{name}[{index}].")


def _wrong_types(
    values: Mapping[str, Any], form: Mapping[str, tuple[type, ...]], prefix: str
) -> Iterator[str]:
    for key, types in form.items():
        if key not in values or not types:
            continue
        value = values[key]
        is_wrong_bool = isinstance(value, bool) and bool not in types
        if is_wrong_bool or not isinstance(value, types):
            yield f"`{prefix}{key}` is {shown(value, 40)}"


def _types_of(annotation: str) -> tuple[type, ...]:
    """Returns the JSON types of an annotation such as `list[int] | None`; () for one that is not known."""
    names = [part.strip().split("[")[0] for part in annotation.split("|")]
    if any(name not in _ANNOTATIONS for name in names):
        return ()
    return tuple(kind for name in names for kind in _ANNOTATIONS[name])
