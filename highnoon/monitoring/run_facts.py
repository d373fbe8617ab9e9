"""What rules know of a run besides its metrics."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class RunFacts:
    """The state of a run.

    Args:
        vocab_size: Vocabulary size of the model, or None if unknown.
        stage: Name of the stage of the last metrics.
        stage_began: Step of the first metrics of the stage; 0 for the first stage.
        num_stages: Number of stages so far.
    """

    vocab_size: int | None = None
    stage: str | None = None
    stage_began: int = 0
    num_stages: int = 0

    def enter(self, stage: str | None, step: int) -> bool:
        """Updates the stage; returns whether it is a new one."""
        if self.num_stages and stage == self.stage:
            return False
        self.stage_began = step if self.num_stages else 0
        self.stage = stage
        self.num_stages += 1
        return self.num_stages > 1

    def is_settled(self, step: int, first_steps: int, quiet_steps: int) -> bool:
        """Returns whether the start of the run, or of a later stage, is long enough ago."""
        wait = first_steps if self.num_stages < 2 else quiet_steps
        return step - self.stage_began > wait
