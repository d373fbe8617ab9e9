"""The checks of a run that need neither a model nor data, made before either is loaded."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from highnoon.cli.run_file import RunFile
from highnoon.config import ConfigError, require_flag, require_path, resolve_keys, shown
from highnoon.files.expand_home import expand_home

if TYPE_CHECKING:
    from highnoon.training import CurriculumScheduler


def check_run(plan: RunFile) -> list[dict[str, Any]]:
    """Checks configuration, stages, callbacks and folders of a run.

    Returns:
        Arguments of `Trainer.add_curriculum_stage`, one mapping for each of the plan's own stages.

    Raises:
        ConfigError: something that the run would refuse, now or in the middle.
    """
    from highnoon.training.curricula.task_mix import task_mix_stages
    from highnoon.training.plans.stages import CurriculumStage

    plan.config()
    if plan.tasks and not plan.curriculum:
        raise ConfigError("`tasks` are for `curriculum`, which is not given; give it, or leave `tasks` out")
    stages = [_stage_arguments(stage) for stage in plan.stages]
    made = [CurriculumStage(**_as_fields(stage)) for stage in stages]
    if plan.has_task_mix:
        made += task_mix_stages(**task_mix_arguments(plan))
    names = [stage.name for stage in made]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"there are two stages {shown(name)}; stages need distinct names")
    run_callbacks(plan, is_chief=True)
    _check_folders(plan)
    return stages


def run_callbacks(plan: RunFile, is_chief: bool) -> list[Any]:
    """Returns the callbacks that a run file asks for: alert rules on every worker, the rest on the chief.

    Raises:
        ConfigError: an argument of one of them that it does not have, or that is out of its range.
    """
    from highnoon.callbacks import Alerts, SampleText, WandbLog

    makers = {
        "alerts": (lambda: Alerts(**plan.alerts), True),
        "sample_prompts": (lambda: SampleText(plan.sample_prompts), is_chief),
        "wandb": (lambda: WandbLog(**plan.wandb), is_chief),
    }
    callbacks: list[Any] = []
    for key, (make, is_wanted) in makers.items():
        if is_wanted and getattr(plan, key):
            try:
                callbacks.append(make())
            except ValueError as error:
                raise ConfigError(f"`{key}`: {error}") from None
    return callbacks


def task_mix_arguments(plan: RunFile) -> dict[str, Any]:
    """Returns the arguments of `Trainer.add_task_mix`."""
    mix = plan.curriculum
    return {
        "tasks": plan.tasks,
        "stages": mix.get("stages", ()),
        "optional": mix.get("optional", ()),
        "max_iters": mix.get("max_iters"),
    }


def make_scheduler(values: Mapping[str, Any], stage: str) -> CurriculumScheduler:
    """Builds a scheduler from its arguments; `adaptive: true` takes the adaptive one.

    Raises:
        ConfigError: an argument that it does not have, or that is out of its range.
    """
    import highnoon as hn

    owner = f"the scheduler of stage {shown(stage)}"
    if not isinstance(values, Mapping):
        raise ConfigError(f"{owner} must be a mapping; received {shown(values)}")
    values = dict(values)
    is_adaptive = require_flag("adaptive", values.pop("adaptive", False))
    kind = hn.AdaptiveCurriculumScheduler if is_adaptive else hn.CurriculumScheduler
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


def _reference_folder(value: Any) -> str:
    folder = expand_home(require_path("reference_model", value))
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"`reference_model` must be the folder of a saved model, with its config.json; received "
            f"{shown(str(folder))}"
        )
    return str(folder)


def require_writable(name: str, folder: pathlib.Path) -> None:
    """Checks that files can be written to a folder, or that it can be made.

    Raises:
        ConfigError: they cannot.
    """
    try:
        place = folder
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise ConfigError(f"`{name}` must be a folder; {place} is a file")
        if not os.access(place, os.W_OK | os.X_OK):
            raise ConfigError(f"`{name}` must be a folder that can be written; {place} cannot")
    except OSError as error:
        raise ConfigError(
            f"`{name}` must be a folder: {error.strerror}; received {shown(str(folder))}"
        ) from None


def _stage_arguments(stage: Mapping[str, Any]) -> dict[str, Any]:
    from highnoon.training.plans.stages import OVERRIDABLE

    values = dict(stage)
    overrides = values.pop("overrides", None)
    if overrides is not None:
        owner = f"`overrides` of stage {shown(values['name'])}"
        values |= resolve_keys(overrides, set(OVERRIDABLE), owner)
    if values.get("scheduler") is not None:
        values["scheduler"] = make_scheduler(values["scheduler"], values["name"])
    return values


def _as_fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of `add_curriculum_stage` as fields of `CurriculumStage`."""
    from highnoon.training.plans.stages import OVERRIDABLE

    overrides = {key: value for key, value in arguments.items() if key in OVERRIDABLE}
    fields = {key: value for key, value in arguments.items() if key not in OVERRIDABLE}
    return {**fields, "config_overrides": overrides}


def _check_folders(plan: RunFile) -> None:
    from highnoon.training.checkpoints.checkpoint import CheckpointError, require_own_folder

    output = pathlib.Path(plan.output)
    require_writable("output", output)
    require_writable("output", output / "logs")
    require_writable("output", output / "model")
    require_writable("checkpoint_dir", plan.checkpoint_folder)
    try:
        require_own_folder(output / "model")
    except CheckpointError as error:
        raise ConfigError(f"`output`: {error}") from None
    if plan.data_dir is not None and not os.path.isdir(plan.data_dir):
        raise ConfigError(f"`data_dir` must name a folder; there is none at {shown(plan.data_dir)}")
