"""The recipe of the run that another recipe resumes."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

from highnoon.files.expand_home import expand_home
from highnoon.files.step_folders import checkpoint_in
from highnoon.training.recipes.recipe_file import RECIPE_FILE

if TYPE_CHECKING:
    from highnoon.training.recipes.recipe import Recipe

_LEVELS = 3
"""A run's folder is at most so many levels above what names a checkpoint: checkpoints, and step or role."""


def saved_recipe(recipe: Recipe) -> Recipe | None:
    """Returns the recipe that was saved with the run that `resume_from` names; None if there is none.

    Raises:
        ConfigError: it cannot be read.
    """
    from highnoon.training.recipes.recipe import Recipe as Saved

    if recipe.resume_from is True:
        folders = [pathlib.Path(recipe.output)]
    else:
        path = pathlib.Path(
            os.path.abspath(checkpoint_in(expand_home(str(recipe.resume_from)), recipe.checkpoint_folder))
        )
        folders = [path, *path.parents[:_LEVELS]]
    for folder in folders:
        if (folder / RECIPE_FILE).is_file():
            return Saved.load(folder / RECIPE_FILE)
    return None
