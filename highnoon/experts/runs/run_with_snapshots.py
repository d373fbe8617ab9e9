"""Runs a recipe with a named snapshot every few epochs, and resumes it from any of its checkpoints."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from highnoon.config import ConfigError, require_count, require_flag
from highnoon.experts.runs.choose_checkpoint import Choice, choose_checkpoint
from highnoon.files.print_text import print_text
from highnoon.files.step_folders import CheckpointError
from highnoon.models.matching_weights import MatchingWeights, load_matching_weights
from highnoon.training.checkpoints.checkpoint import read_state
from highnoon.training.checkpoints.inspection import read_description_or_nothing
from highnoon.training.recipes.check_recipe import check_recipe
from highnoon.training.recipes.make_trainer import make_trainer
from highnoon.training.recipes.recipe import Recipe
from highnoon.training.recipes.run_recipe import run_recipe
from highnoon.training.trainer import Trainer

_LEAST_INTERVAL, _MOST_INTERVAL = 100, 1000
_MOST_DIFFERENCES = 6


@dataclasses.dataclass(frozen=True)
class Resuming:
    """How a run begins.

    Args:
        resume: None or false begins a new run; true resumes from the highest step, see `choose_checkpoint`;
            or a path.
        extend: Whether the run may become longer than it was.
        allow_plan_change: Whether it may differ in anything.
        allow_partial: Whether a checkpoint of which some weights do not fit begins a new run: at least 90
            percent of the parameters must.
        run_id: The run whose checkpoints true takes; None for the newest.

    Raises:
        ConfigError: an option of resuming without `resume`.
    """

    resume: Any = None
    extend: bool = False
    allow_plan_change: bool = False
    allow_partial: bool = False
    run_id: str | None = None

    @property
    def is_resumed(self) -> bool:
        """Whether the run resumes; an empty path does not begin a new run."""
        return self.resume is not None and self.resume is not False

    def __post_init__(self) -> None:
        for name in ("extend", "allow_plan_change", "allow_partial"):
            if require_flag(name, getattr(self, name)) and not self.is_resumed:
                raise ConfigError(f"--{name.replace('_', '-')} is for a resumed run; give --resume with it")


def run_with_snapshots(
    recipe: Recipe,
    resuming: Resuming | None = None,
    snapshot_epochs: int = 5,
    callbacks: Sequence[Any] = (),
    require_fit: Callable[[pathlib.Path], None] | None = None,
) -> dict[str, Any]:
    """Runs the one stage of a recipe; every checkpoint at a multiple of `snapshot_epochs` epochs stays.

    Args:
        recipe: The run; its `run_name` is the name of its folder.
        resuming: How it begins; None begins a new run.
        snapshot_epochs: Epochs between snapshots.
        callbacks: More callbacks.
        require_fit: Called with the checkpoint that is resumed; raises where the run cannot resume from it.

    Returns:
        The summary of `Trainer.train`.

    Raises:
        CheckpointError: the checkpoint is of another expert, model or plan, is damaged, or there is none.
        ConfigError: as `run_recipe`.
    """
    resuming = Resuming() if resuming is None else resuming
    require_count("snapshot_epochs", snapshot_epochs)
    choice = _chosen(recipe, resuming, snapshot_epochs)
    if choice is not None and require_fit is not None:
        require_fit(choice.folder)
    trainer = make_trainer(recipe, check_recipe(recipe))
    if choice is not None:
        if recipe.verbose:
            print_text(choice.line)
        recipe = _resumed(recipe, trainer, choice, resuming)
    steps = trainer.plan().stages[0].timeline[0]["steps"]
    recipe = dataclasses.replace(
        recipe, checkpoint_interval=_interval(steps), keep_every=steps * snapshot_epochs
    )
    return run_recipe(recipe, trainer, callbacks)


def _chosen(recipe: Recipe, resuming: Resuming, snapshot_epochs: int) -> Choice | None:
    if not resuming.is_resumed:
        return None
    run = pathlib.Path(recipe.output)
    choice = choose_checkpoint(run, resuming.resume, snapshot_epochs, resuming.run_id)
    if choice is None:
        if recipe.verbose:
            print_text(f"no checkpoint in {run} yet: a new run begins")
        return None
    name = read_state(choice.folder).get("run_name")
    if name != recipe.run_name:
        raise CheckpointError(
            f"{choice.folder} must be a checkpoint of {recipe.run_name}; it is of {name}"
            f"{_differences(recipe, choice.folder)}; give one of {recipe.run_name}, or --resume alone"
        )
    return choice


def _resumed(recipe: Recipe, trainer: Trainer, choice: Choice, resuming: Resuming) -> Recipe:
    """Returns the recipe that resumes, or one that begins with the weights that fit."""
    match = MatchingWeights.between(trainer.model, choice.folder)
    if match.is_complete:
        return dataclasses.replace(
            recipe,
            resume_from=str(choice.folder),
            extend=resuming.extend,
            allow_plan_change=resuming.allow_plan_change,
        )
    if not resuming.allow_partial:
        raise CheckpointError(
            f"{choice.folder} holds another model{_differences(recipe, choice.folder)}; it has {match}. Give "
            "the configuration that the run began with, or --allow-partial to begin a new run with what fits"
        )
    load_matching_weights(trainer.model, choice.folder)
    print_text(f"weights of {choice.folder}: {match}; a new run begins with them, at step 0")
    return recipe


def _differences(recipe: Recipe, folder: pathlib.Path) -> str:
    """Returns the fields of the model in which a recipe and a checkpoint differ, after a colon."""
    then = read_description_or_nothing(folder).get("model") or {}
    if "family" in recipe.model or not then:
        return ""
    now = recipe.config().model.to_dict()
    changed = [
        f"{key} is {now[key]} here and {then[key]} there"
        for key in now
        if then.get(key, now[key]) != now[key]
    ]
    rest = f" and {len(changed) - _MOST_DIFFERENCES} more" if len(changed) > _MOST_DIFFERENCES else ""
    return f": {'; '.join(changed[:_MOST_DIFFERENCES])}{rest}" if changed else ""


def _interval(steps: int) -> int:
    """Returns steps between checkpoints, such that every end of an epoch of `steps` has one."""
    divisors = (one for one in range(_MOST_INTERVAL, _LEAST_INTERVAL - 1, -1) if steps % one == 0)
    return next(divisors, steps)
