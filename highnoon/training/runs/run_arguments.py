"""The arguments of `Trainer.train`, checked."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import keras

from highnoon.config import ConfigError, is_given, require_count, require_flag, require_path, shown
from highnoon.files.print_text import print_text
from highnoon.files.step_folders import checkpoint_in
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.checkpoint_writer import CheckpointWriter
from highnoon.training.evaluators import evaluators_from_config
from highnoon.training.runs.run_folder import RunLabel, require_run_name, require_same_name
from highnoon.training.runs.run_state import Intervals

if TYPE_CHECKING:
    from highnoon.training.checkpoints.saved_run import SavedRun

Path = str | os.PathLike[str]


@dataclasses.dataclass
class RunArguments:
    """What `Trainer.train` was given besides epochs; see there.

    Raises:
        ConfigError: one of them has another type, or is out of its range.
    """

    save_checkpoints: bool = True
    checkpoint_dir: Path | None = None
    checkpoint_interval: int = 1000
    log_interval: int = 100
    eval_interval: int = 500
    resume_from: Path | bool | None = None
    callbacks: Sequence[Any] = ()
    log_dir: Path | None = "logs"
    keep_checkpoints: int = 3
    keep_every: int | None = None
    verbose: bool = True
    extend: bool = False
    allow_plan_change: bool = False
    restore_best: bool = False
    evaluators: Sequence[Any] = ()
    validation_steps: int | None = None
    validation_batch_size: int | None = None
    run_name: str | None = None
    histograms: bool = False

    def __post_init__(self) -> None:
        for name in ("checkpoint_interval", "log_interval", "eval_interval", "keep_checkpoints"):
            require_count(name, getattr(self, name))
        for name in ("keep_every", "validation_steps", "validation_batch_size"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        if self.run_name is not None:
            require_run_name("run_name", self.run_name)
        for name in ("save_checkpoints", "extend", "allow_plan_change", "restore_best", "histograms"):
            require_flag(name, getattr(self, name))
        for name in ("checkpoint_dir", "log_dir"):
            if getattr(self, name) is not None:
                setattr(self, name, require_path(name, getattr(self, name)))
        if isinstance(self.callbacks, keras.callbacks.Callback):
            self.callbacks = [self.callbacks]  # as Keras's `fit` takes it
        if not isinstance(self.callbacks, (list, tuple)):
            raise ConfigError(f"`callbacks` must be a list of callbacks; received {shown(self.callbacks)}")
        self.evaluators = evaluators_from_config(self.evaluators)

    @property
    def directory(self) -> pathlib.Path:
        """Where checkpoints go."""
        return pathlib.Path("checkpoints" if self.checkpoint_dir is None else self.checkpoint_dir)

    @property
    def intervals(self) -> Intervals:
        """Steps between log points, evaluations and checkpoints."""
        return Intervals(self.log_interval, self.eval_interval, self.checkpoint_interval)

    @property
    def may_continue(self) -> bool:
        """Whether a run that has ended before its plan's last step takes the steps that are left."""
        return self.extend or self.allow_plan_change

    def checkpoint_writer(self) -> CheckpointWriter | None:
        """Returns what writes the checkpoints; None if none are written."""
        if not self.save_checkpoints:
            return None
        return CheckpointWriter(self.directory, self.keep_checkpoints, self.keep_every)

    def label(self, saved: SavedRun | None, label: RunLabel, *, is_chief: bool) -> RunLabel:
        """Returns the label of the run: a resumed one keeps its own, a new one gets a folder.

        Args:
            saved: What the run resumes from.
            label: Of the saved run.
            is_chief: Whether this process makes the folder.

        Raises:
            ConfigError: a resumed run is given another name.
        """
        if saved is not None and saved.has_begun:
            require_same_name(self.run_name, label.run_name, saved.folder)
            return label
        log_dir = pathlib.Path(self.log_dir) if is_chief and self.log_dir is not None else None
        return RunLabel.new(self.run_name, log_dir, None if saved is None else label.run_id)

    def resume_path(self) -> Path | None:
        """Returns the checkpoint to resume from; None for a new run.

        Raises:
            ConfigError: `resume_from` is neither a path nor a bool.
        """
        if self.resume_from is None or self.resume_from is False:
            return None
        if self.resume_from is not True:
            return checkpoint_in(require_path("resume_from", self.resume_from), self.directory)
        if checkpoint.step_folders(self.directory):
            return self.directory
        if self.verbose:
            print_text(f"no checkpoint in {self.directory} yet: a new run begins")
        return None


def asked_epochs(epochs_per_stage: int | None, epochs: int | None = None) -> int | None:
    """Returns the epochs that a caller of `train` gave under either name; None for none.

    Raises:
        ConfigError: both names are given, a number below 1, or data in its position.
    """
    if isinstance(epochs_per_stage, Iterable):
        raise ConfigError(
            f"`epochs_per_stage` must be a whole number; received {shown(epochs_per_stage)}. Data is given "
            "before: trainer.add_curriculum_stage(name, datasets)"
        )
    given = {
        name: require_count(name, value)
        for name, value in (("epochs_per_stage", epochs_per_stage), ("epochs", epochs))
        if value is not None and is_given(value)
    }
    if len(given) > 1:
        raise ConfigError(
            f"`epochs_per_stage` and `epochs` name the same number; received {epochs_per_stage} and "
            f"{epochs}, give one of them"
        )
    return next(iter(given.values()), None)
