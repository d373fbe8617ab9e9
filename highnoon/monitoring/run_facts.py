"""What rules know of a run besides the figures before them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class RunFacts:
    """Where a run stands.

    Args:
        vocab_size: Token ids of the model, or None where nobody said.
        stage: Name of the stage that the last figures belong to.
        stage_began: Step of the stage's first figures; 0 for the first stage.
        num_stages: Stages seen so far.
    """

    vocab_size: int | None = None
    stage: str | None = None
    stage_began: int = 0
    num_stages: int = 0

    def enter(self, stage: str | None, step: int) -> bool:
        """Takes note of a figure's stage; returns whether it is a new one."""
        if self.num_stages and stage == self.stage:
            return False
        self.stage_began = step if self.num_stages else 0
        self.stage = stage
        self.num_stages += 1
        return self.num_stages > 1

    def is_settled(self, step: int, first_steps: int, quiet_steps: int) -> bool:
        """Whether the start of the run, or of a later stage, lies far enough back to be judged."""
        wait = first_steps if self.num_stages < 2 else quiet_steps
        return step - self.stage_began > wait
