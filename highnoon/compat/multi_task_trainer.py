"""The trainer of the Dragon Hatching guide, as a front of a recipe."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from highnoon.compat.multi_task_config import MultiTaskConfig
from highnoon.config import ConfigError, require_count, require_path, shown
from highnoon.files.step_folders import checkpoint_in
from highnoon.training.recipes.recipe import Recipe

if TYPE_CHECKING:
    from highnoon.training.trainer import Trainer


class MultiTaskTrainer:
    """Trains on a curriculum of tasks; the run itself is a `Recipe`.

    Args:
        config: `MultiTaskConfig`, a mapping of its fields, or a `Recipe`.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat import MultiTaskConfig, MultiTaskTrainer

    trainer = MultiTaskTrainer(MultiTaskConfig(n_layer=2, n_embd=64, tasks="synthetic"))
    assert trainer.recipe.model["num_reasoning_blocks"] == 2
    try:
        trainer.load_checkpoint("hatching_step_5000.pt")
    except ValueError as error:
        assert "no checkpoint" in str(error)
    ```
    """

    def __init__(self, config: MultiTaskConfig | Mapping[str, Any] | Recipe | None = None) -> None:
        if isinstance(config, Recipe):
            self.recipe = config
        else:
            config = MultiTaskConfig() if config is None else config
            if isinstance(config, Mapping):
                config = MultiTaskConfig.from_dict(config)
            if not isinstance(config, MultiTaskConfig):
                raise ConfigError(
                    f"`config` must be a MultiTaskConfig, a mapping of its fields or a Recipe; "
                    f"received {shown(config)}"
                )
            self.recipe = config.to_recipe()
        self.config = config
        self._trainer: Trainer | None = None
        self._loaded_step: int | None = None

    @property
    def trainer(self) -> Trainer:
        """The trainer of the recipe, made at first use."""
        if self._trainer is None:
            self._trainer = self.recipe.make_trainer()
        return self._trainer

    @property
    def model(self) -> Any:
        """The model, made at first use."""
        return self.trainer.model

    def load_checkpoint(self, path: str | os.PathLike[str]) -> int:
        """Chooses the checkpoint that `train` resumes from.

        Args:
            path: A checkpoint, as everywhere; or one of the names `hatching_step_N`, `hatching_best` and
                `hatching_final`, with or without `.pt`. A bare name is looked for here and in
                `checkpoint_dir`.

        Returns:
            The optimizer steps that the checkpoint has taken.

        Raises:
            CheckpointError: there is none, or it is of no run.
        """
        from highnoon.training.checkpoints.checkpoint import CheckpointError
        from highnoon.training.checkpoints.saved_run import SavedRun

        given = require_path("path", path, CheckpointError)
        saved = SavedRun.find(checkpoint_in(given, self.recipe.checkpoint_folder))
        if not saved.has_begun:
            raise CheckpointError(f"{saved.folder} holds no run; give a checkpoint that train() wrote")
        self.recipe = dataclasses.replace(self.recipe, resume_from=str(saved.folder))
        self._trainer = None
        self._loaded_step = int(saved.state["run"]["progress"]["step"])
        return self._loaded_step

    def train(self, start_step: int = 0, callbacks: Sequence[Any] = ()) -> dict[str, Any]:
        """Runs the recipe: from the start, or from the checkpoint that was loaded.

        Args:
            start_step: What `load_checkpoint` returned; 0 for a new run.
            callbacks: More callbacks.

        Returns:
            The summary of `Trainer.train`.

        Raises:
            ConfigError: `start_step` is not the step of the loaded checkpoint.
        """
        from highnoon.training.recipes.run_recipe import run_recipe

        start_step = require_count("start_step", start_step, least=0)
        if start_step != (self._loaded_step or 0):
            loaded = (
                "no checkpoint is loaded; call `load_checkpoint` first"
                if self._loaded_step is None
                else f"the loaded checkpoint is of step {self._loaded_step:,}"
            )
            raise ConfigError(f"`start_step` is {start_step:,}, and {loaded}")
        return run_recipe(self.recipe, self.trainer, callbacks)
