"""How many rows and tokens one optimizer step takes."""

from __future__ import annotations

import dataclasses

from highnoon.config import ConfigError, TrainingConfig
from highnoon.training.plans.stages import CurriculumStage


@dataclasses.dataclass(frozen=True)
class StepSize:
    """The size of one optimizer step.

    Args:
        config: The run's configuration with a stage's overrides.
        num_replicas: Devices that share a step.
    """

    config: TrainingConfig
    num_replicas: int

    @property
    def rows_per_replica(self) -> int:
        """Rows of one replica."""
        if self.config.global_batch_size is not None:
            return self.config.global_batch_size // self.num_replicas
        return self.config.batch_size * self.config.gradient_accumulation_steps

    @property
    def rows_per_step(self) -> int:
        """Rows on all replicas."""
        return self.rows_per_replica * self.num_replicas

    @property
    def tokens_per_step(self) -> int:
        """Positions in these rows."""
        return self.rows_per_step * self.config.max_seq_length

    def steps_of(self, stage: CurriculumStage) -> int | None:
        """Returns a stage's length in steps; None if it is given in epochs."""
        if stage.tokens is not None:
            return -(-stage.tokens // self.tokens_per_step)
        return stage.steps

    def require_divisible(self) -> None:
        """Checks that the replicas can share a step evenly.

        Raises:
            ConfigError: `global_batch_size` is no multiple of the rows that the replicas take at once.
        """
        batch_size, rows = self.config.batch_size, self.config.global_batch_size
        if rows is not None and rows % (batch_size * self.num_replicas):
            raise ConfigError(
                f"`global_batch_size`={rows} must be a multiple of batch_size={batch_size} x "
                f"{self.num_replicas} replicas; choose a `batch_size` that divides it"
            )
