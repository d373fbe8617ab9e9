"""The interface of what shows a run's progress."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from highnoon.files.duration import duration_text


@dataclasses.dataclass(frozen=True)
class Shown:
    """What is shown of a run at an instant.

    Args:
        stage: Name of the stage.
        step: Optimizer steps taken.
        total_steps: Those of the plan.
        figures: Loss and speed as text; empty before they are known.
        seconds_left: For the remaining steps; None before it is known.
    """

    stage: str
    step: int
    total_steps: int
    figures: str
    seconds_left: float | None

    @property
    def text(self) -> str:
        """The position, the figures and the remaining time as one line."""
        left = None if self.seconds_left is None else f"{duration_text(self.seconds_left)} left"
        position = f"step {self.step:,}/{self.total_steps:,}"
        figures = ", ".join(part for part in (self.figures, left) if part)
        return f"{position}  {figures}".rstrip()


class ProgressDisplay(Protocol):
    """Shows a run's progress.

    Attributes:
        seconds_between: Least time between two calls of `show`.
        moves: Whether `show` replaces what it showed before, so that it may be called often.
    """

    seconds_between: float
    moves: bool

    def show(self, shown: Shown) -> None:
        """Shows where the run is."""

    def print(self, line: str) -> None:
        """Shows a line that remains."""

    def close(self) -> None:
        """Ends the display; what it shows remains."""
