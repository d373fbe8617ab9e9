"""Checks of Keras's callbacks before a run: what a run cannot do for them is refused when they are added."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from highnoon.config import ConfigError, TrainingConfig
from highnoon.config.optimizer_choice import is_of_keras, optimizer_name
from highnoon.files.nearest_name import nearest_name
from highnoon.training.evaluators import Evaluator
from highnoon.training.objective import Objective

REFUSED: Mapping[str, str] = {
    "BackupAndRestore": "the run's own checkpoints resume bit for bit: train(checkpoint_dir=..., "
    "resume_from=True)",
    "CallbackList": "give its callbacks one by one",
    "OrbaxCheckpoint": "the run writes its own checkpoints: train(checkpoint_dir=...)",
    "ProgbarLogger": "train(verbose=True) shows the progress of a run",
    "SwapEMAWeights": "evaluations use the averaged weights, and the model ends with them, wherever the "
    "optimizer keeps an average",
}
"""Callbacks of Keras that a run refuses, and what to do instead."""

_LOSSES = ("loss", "val_loss")
_LEARNING_RATES = ("ReduceLROnPlateau", "LearningRateScheduler")


@dataclasses.dataclass(frozen=True)
class CallbackRules:
    """What a run offers to callbacks.

    Args:
        config: Of the run.
        objectives: Of its stages.
        evaluators: Of the run: their figures have names that are not known before.
        stages: Of the run so far, whose `config_overrides` are read.
        has_held_out: Whether any stage holds documents out; None while that is not known.
    """

    config: TrainingConfig
    objectives: Sequence[Objective]
    evaluators: Sequence[Evaluator] = ()
    stages: Sequence[Any] = ()
    has_held_out: bool | None = None

    def require(self, callbacks: Sequence[Any]) -> None:
        """Refuses callbacks that would fail, or do nothing, in the run.

        Raises:
            ConfigError: the reason, and what to do instead.
        """
        for callback in callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                continue
            name = _keras_name(callback)
            if name in REFUSED:
                raise ConfigError(f"the callback {name} cannot be used in a run: {REFUSED[name]}")
            if name in _LEARNING_RATES:
                self._require_settable_rate(name)
            if name in ("EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"):
                self._require_monitor(callback, name)
            if name == "ModelCheckpoint":
                self._require_file_names(callback)

    def _require_settable_rate(self, name: str) -> None:
        config = self.config
        if is_of_keras(config.optimizer):
            if isinstance(config.optimizer["config"].get("learning_rate"), Mapping):
                raise ConfigError(
                    f"{name} sets the learning rate, and so does the schedule of "
                    f"{optimizer_name(config.optimizer)}; give the optimizer a number as its learning rate"
                )
            return
        if config.schedule != "constant" or config.warmup_steps != 0:
            raise ConfigError(
                f"{name} sets the learning rate, and so does the run's own schedule (`{config.schedule}`, "
                "after a warm-up); switch that off with schedule='constant', warmup_steps=0, or give an "
                "optimizer of Keras, such as optimizer=keras.optimizers.AdamW(1e-3)"
            )
        if any("learning_rate" in stage.config_overrides for stage in self.stages):
            raise ConfigError(
                f"{name} sets the learning rate of the entire run, and a stage overrides `learning_rate`; "
                "leave one of the two out"
            )

    def _require_monitor(self, callback: Any, name: str) -> None:
        monitor = callback.monitor
        is_compared = name != "ModelCheckpoint" or callback.save_best_only
        if is_compared:
            self._require_name(monitor, f"{name}(monitor={monitor!r})")
            if self.has_held_out is False and str(monitor).startswith("val_"):
                raise ConfigError(
                    f"{name}(monitor={monitor!r}) needs held-out data, and no stage holds a document out; "
                    "raise `validation_split`, give `validation_data`, or use monitor='loss'"
                )
        if name == "ModelCheckpoint" and callback.save_best_only and callback.save_freq != "epoch":
            if monitor != "loss":
                raise ConfigError(
                    f"ModelCheckpoint(save_freq={callback.save_freq}) compares within an epoch, where only "
                    "`loss` is known; use save_freq='epoch', or monitor='loss'"
                )
        if callback.mode == "auto" and str(monitor).removeprefix("val_") != "loss":
            raise ConfigError(
                f"{name}(monitor={monitor!r}) must say whether lower or higher is better; give mode='min' or "
                "mode='max'"
            )

    def _require_file_names(self, callback: Any) -> None:
        """Checks the figures in the name of a checkpoint's file, such as `{val_loss:.2f}`."""
        fields = [field for _, field, _, _ in string.Formatter().parse(callback.filepath) if field]
        for field in fields:
            if field not in ("epoch", "batch"):
                self._require_name(field, f"ModelCheckpoint(filepath={callback.filepath!r})")

    def _require_name(self, name: Any, owner: str) -> None:
        known = list(_LOSSES)
        for figures in self._figures():
            if figures is None:
                if str(name).startswith("val_"):
                    return
                continue
            known += [f"val_{figure}" for figure in figures]
        if name in known or str(name).startswith("val_loss/"):
            return
        near = nearest_name(name, known)
        hint = f"did you mean `{near}`? " if near is not None else ""
        names = ", ".join(dict.fromkeys(known))
        raise ConfigError(
            f"{owner} names a figure that the stages of this run do not have; {hint}there are: {names}"
        )

    def _figures(self) -> list[Sequence[str] | None]:
        """Returns the names of figures of each source of them; None where they are not known before."""
        return [*(objective.figures for objective in self.objectives), *(None for _ in self.evaluators)]


def _keras_name(callback: keras.callbacks.Callback) -> str:
    """Returns the name of Keras's own class that a callback is or derives from; "" for none."""
    for cls in type(callback).__mro__:
        if getattr(keras.callbacks, cls.__name__, None) is cls:
            return "" if cls is keras.callbacks.Callback else cls.__name__
    return ""
