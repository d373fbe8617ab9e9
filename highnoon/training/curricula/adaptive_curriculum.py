"""A curriculum whose pace depends on the loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from highnoon.config import require_count, require_number
from highnoon.training.curricula.curriculum import CurriculumScheduler


class AdaptiveCurriculumScheduler(CurriculumScheduler):
    """Adds harder samples when the loss on the current ones stops falling.

    After each epoch, where `best` is the lowest loss of the earlier epochs of this stage:

    ```
    advance = epochs_in_stage >= max_epochs_per_stage
              or (epochs_in_stage >= min_epochs_per_stage
                  and best - current_loss < loss_threshold_for_progression)
    ```

    The first loss of a stage is not compared: a new stage trains on other data, so `best` is reset. The
    first stage also lasts at least `warmup_epochs`, by default `min_epochs_per_stage`.

    Args:
        loss_threshold_for_progression: The stage ends when the loss falls by less than this, in nats; not
            negative.
        min_epochs_per_stage: Minimum length of a stage in epochs, at least 1.
        max_epochs_per_stage: Maximum length of a stage in epochs, at least `min_epochs_per_stage` and
            `warmup_epochs`.
        **kwargs: Arguments of `CurriculumScheduler`. `stage_increment_epochs` sets a fixed pace and is
            ignored here with a warning. With `unit="step"` the epochs above are optimizer steps.

    Raises:
        ValueError: An argument is out of range.

    Example:

    ```python
    scheduler = AdaptiveCurriculumScheduler(
        min_epochs_per_stage=2, warmup_epochs=0, num_stages=2, initial_fraction=0.5, verbose=False
    )
    scheduler.prepare_curriculum(["A cat.", "A cat sat on a mat."])
    assert not scheduler.update_with_loss(epoch=0, current_loss=3.0)
    assert scheduler.update_with_loss(epoch=1, current_loss=2.95)
    assert len(scheduler.get_current_subset_indices(epoch=2)) == 2
    ```
    """

    def __init__(
        self,
        loss_threshold_for_progression: float = 0.1,
        min_epochs_per_stage: int = 10,
        max_epochs_per_stage: int = 50,
        **kwargs: Any,
    ):
        if "stage_increment_epochs" in kwargs:
            warnings.warn(
                "`stage_increment_epochs` is ignored by AdaptiveCurriculumScheduler; set its pace with "
                "`min_epochs_per_stage` and `max_epochs_per_stage`",
                stacklevel=2,
            )
        self.min_epochs_per_stage = require_count("min_epochs_per_stage", min_epochs_per_stage, least=1)
        self.max_epochs_per_stage = require_count("max_epochs_per_stage", max_epochs_per_stage, least=1)
        # By default the first stage has the same minimum length as the others.
        kwargs.setdefault("warmup_epochs", min_epochs_per_stage)
        super().__init__(**kwargs)
        self.loss_threshold_for_progression = require_number(
            "loss_threshold_for_progression", loss_threshold_for_progression, least=0
        )
        shortest = max(self.min_epochs_per_stage, self.warmup_epochs)
        if self.max_epochs_per_stage < shortest:
            raise ValueError(
                f"`max_epochs_per_stage` must be at least {shortest}, the larger of min_epochs_per_stage "
                f"and warmup_epochs; received {max_epochs_per_stage}"
            )
        self._stage_start = 0
        self._best_loss: float | None = None

    def update_with_loss(self, epoch: int, current_loss: float) -> bool:
        """Records the loss of a finished epoch and returns whether a new stage begins after it.

        Args:
            epoch: The finished epoch, from 0; with `unit="step"` the index of the last step.
            current_loss: Its loss in nats: the validation loss if there is one, else the training loss.

        Raises:
            ValueError: The loss is not finite, or the epoch is before the current stage.
        """
        current_loss = float(current_loss)
        if not math.isfinite(current_loss):
            raise ValueError(f"`current_loss` must be a finite number; received {current_loss}")
        epochs_in_stage = require_count("epoch", epoch, least=0) - self._stage_start + 1
        if epochs_in_stage < 1:
            raise ValueError(
                f"`epoch` must be at least {self._stage_start}, where stage {self.current_stage} began; "
                f"received {epoch}"
            )
        advances = self.current_stage < self.num_stages - 1 and self._is_finished(
            epochs_in_stage, current_loss
        )
        if advances:
            self.current_stage += 1
            self._stage_start, self._best_loss = int(epoch) + 1, None
        else:
            self._best_loss = current_loss if self._best_loss is None else min(self._best_loss, current_loss)
        return advances

    def stage_at(self, epoch: int) -> int:
        """Returns the current stage, which depends on the recorded losses and not on the epoch."""
        return self.current_stage

    def epochs_to_full_data(self) -> int:
        """Returns the minimum number of epochs (or steps) before all samples are used."""
        if self.num_stages == 1 or self.initial_fraction == 1.0:
            return 0
        # Two losses are needed to detect a plateau, unless the maximum is one epoch.
        shortest = min(self.max_epochs_per_stage, max(self.min_epochs_per_stage, 2))
        return max(self.warmup_epochs, shortest) + (self.num_stages - 2) * shortest

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"stage_start": self._stage_start, "best_loss": self._best_loss}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        best_loss = state["best_loss"]
        self._stage_start = int(state["stage_start"])
        self._best_loss = None if best_loss is None else float(best_loss)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {
            "loss_threshold_for_progression": self.loss_threshold_for_progression,
            "min_epochs_per_stage": self.min_epochs_per_stage,
            "max_epochs_per_stage": self.max_epochs_per_stage,
        }
        del config["stage_increment_epochs"]
        return config

    def _is_finished(self, epochs_in_stage: int, current_loss: float) -> bool:
        if epochs_in_stage >= self.max_epochs_per_stage:
            return True
        shortest = self.min_epochs_per_stage
        if self.current_stage == 0:
            shortest = max(shortest, self.warmup_epochs)
        if epochs_in_stage < shortest or self._best_loss is None:
            return False
        return self._best_loss - current_loss < self.loss_threshold_for_progression
