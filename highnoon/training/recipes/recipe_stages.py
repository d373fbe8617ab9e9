"""The stages of a recipe, as arguments of `Trainer.add_curriculum_stage`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from highnoon.config import ConfigError, require_flag, require_path, resolve_keys, shown

if TYPE_CHECKING:
    from highnoon.training.curricula.curriculum import CurriculumScheduler
    from highnoon.training.recipes.recipe import Recipe

STAGE_KEYS = (
    "name",
    "datasets",
    "epochs",
    "steps",
    "tokens",
    "weight",
    "overrides",
    "scheduler",
    "balance",
    "max_repeats",
    "optional",
    "objective",
    "trainable",
    "validation_data",
    "tasks",
)
"""The arguments of `add_curriculum_stage`, written out since reading them there would load TensorFlow."""
CURRICULUM_KEYS = ("enabled", "stages", "max_iters", "optional")
_LENGTHS = ("epochs", "tokens")


def canonical_stages(stages: Sequence[Mapping[str, Any]], steps: int | None = None) -> list[dict[str, Any]]:
    """Returns stages under canonical keys.

    Args:
        stages: As a recipe gives them.
        steps: Length of each in optimizer steps, in place of its own; None keeps its own.

    Raises:
        ConfigError: a key that is not known, or no `name` or `datasets`.
    """
    result = []
    for number, stage in enumerate(stages, start=1):
        resolved = resolve_keys(stage, set(STAGE_KEYS), f"stage {number}")
        for name in ("name", "datasets"):
            if name not in resolved:
                raise ConfigError(f"stage {number} has no `{name}`")
        if steps is not None:
            resolved = {name: value for name, value in resolved.items() if name not in _LENGTHS}
            resolved["steps"] = steps
        result.append(resolved)
    return result


def canonical_curriculum(curriculum: Mapping[str, Any], steps: int | None = None) -> dict[str, Any]:
    """Returns a task mix under canonical keys; `steps` is as in `canonical_stages`.

    Raises:
        ConfigError: a key that is not known.
    """
    resolved = resolve_keys(curriculum, set(CURRICULUM_KEYS), "`curriculum`")
    if steps is not None and "stages" in resolved:
        kept = [{key: stage[key] for key in stage if key != "max_steps"} for stage in resolved["stages"]]
        resolved["stages"] = [{**stage, "iters": steps} for stage in kept]
        resolved.pop("max_iters", None)
    return resolved


def describe_stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a stage as a file can hold it: data in memory is described, and has to be given again."""
    described = {**stage, "datasets": describe_datasets(stage["datasets"])}
    if "validation_data" in stage:
        described["validation_data"] = describe_datasets(stage["validation_data"])
    return described


def describe_datasets(datasets: Any) -> Any:
    """Returns datasets of a recipe as a file can hold them; None and names are returned as they are."""
    from highnoon.data.sources.dataset_entries import dataset_entries, describe_dataset

    if datasets is None:
        return None
    pairs = [entry if isinstance(entry, tuple) else (entry,) for entry in dataset_entries(datasets)]
    described = [describe_dataset(entry) for entry, *_ in pairs]
    if not any(isinstance(entry, dict) and set(entry) == {"in_memory"} for entry in described):
        return datasets
    weights = [weight for _, *weight in pairs]
    return [[entry, *weight] if weight else entry for entry, weight in zip(described, weights, strict=True)]


def stage_arguments(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `Trainer.add_curriculum_stage`.

    Raises:
        ConfigError: a scheduler, an objective or an override that is not possible.
    """
    from highnoon.training.plans.stages import OVERRIDABLE

    values = dict(stage)
    overrides = values.pop("overrides", None)
    if overrides is not None:
        owner = f"`overrides` of stage {shown(values['name'])}"
        values |= resolve_keys(overrides, set(OVERRIDABLE), owner)
    if isinstance(values.get("scheduler"), Mapping) or _is_plain(values.get("scheduler")):
        values["scheduler"] = make_scheduler(values["scheduler"], values["name"])
    if values.get("objective") is not None:
        values["objective"] = make_objective(values["objective"], f"stage {shown(values['name'])}")
    return values


def as_fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of `add_curriculum_stage` as fields of `CurriculumStage`."""
    from highnoon.training.plans.stages import OVERRIDABLE

    overrides = {key: value for key, value in arguments.items() if key in OVERRIDABLE}
    fields = {key: value for key, value in arguments.items() if key not in OVERRIDABLE}
    return {**fields, "config_overrides": overrides}


def task_mix_arguments(recipe: Recipe) -> dict[str, Any]:
    """Returns the arguments of `Trainer.add_task_mix`."""
    mix = recipe.curriculum
    return {
        "tasks": recipe.tasks,
        "stages": mix.get("stages", ()),
        "optional": mix.get("optional", ()),
        "max_iters": mix.get("max_iters"),
    }


def make_objective(value: Any, owner: str) -> Any:
    """Returns the objective of a name, or of a mapping of `name` and its arguments.

    Raises:
        ConfigError: there is none of that name, or its arguments do not fit.
    """
    from highnoon.training.objective import objective_from_config

    name = value.get("name") if isinstance(value, Mapping) else value
    if isinstance(name, (int, float, list, tuple, Mapping)) or name is None:
        raise ConfigError(
            f"{owner} must be the name of an objective, or a mapping of `name` and its arguments; "
            f"received {shown(value)}"
        )
    try:
        return objective_from_config(value)
    except ValueError as error:
        raise ConfigError(f"{owner}: {error}") from None


def make_scheduler(values: Mapping[str, Any], stage: str) -> CurriculumScheduler:
    """Returns a scheduler made from its arguments; `adaptive: true` takes the adaptive one.

    Raises:
        ConfigError: an argument that it does not have, or that is out of its range.
    """
    from highnoon.training import AdaptiveCurriculumScheduler, CurriculumScheduler

    owner = f"the scheduler of stage {shown(stage)}"
    if not isinstance(values, Mapping):
        raise ConfigError(f"{owner} must be a mapping; received {shown(values)}")
    values = dict(values)
    is_adaptive = require_flag("adaptive", values.pop("adaptive", False))
    kind = AdaptiveCurriculumScheduler if is_adaptive else CurriculumScheduler
    given = resolve_keys(values, set(kind().get_config()), owner)
    try:
        if given.get("reference_model") is not None:
            given["reference_model"] = _reference_folder(given["reference_model"])
        scheduler = kind(**given)
        if (scheduler.strategy == "reference_loss") != (scheduler.reference_model is not None):
            raise ConfigError(
                "`strategy: reference_loss` and `reference_model`, the folder of a saved model, need each "
                f"other; received {shown(given)}"
            )
        return scheduler
    except ValueError as error:
        raise ConfigError(f"{owner}: {error}") from None


def _is_plain(value: Any) -> bool:
    """Whether a value is one that a file can hold, and not a scheduler made in Python."""
    return isinstance(value, (str, int, float, list, tuple))


def _reference_folder(value: Any) -> str:
    from highnoon.models import ModelFolderError, find_model

    try:
        return str(find_model(require_path("reference_model", value)))
    except ModelFolderError as error:
        raise ConfigError(
            f"`reference_model` must be the folder of a saved model: {error}; received {shown(value)}"
        ) from None
