"""What was chosen for a run, and why."""

from __future__ import annotations

import dataclasses

from highnoon.training.recipes.machine import Machine
from highnoon.training.recipes.text_size import TextSize


@dataclasses.dataclass(frozen=True)
class PresetChoice:
    """A preset, a vocabulary and a length for some text and a machine; printing it says why.

    Args:
        preset: The preset.
        vocab_size: The vocabulary, in place of the preset's.
        epochs: Epochs; None where `steps` is the length.
        steps: Optimizer steps, where the machine takes too long for one pass; None otherwise.
        fraction: How often the text is read, also where the length is in steps.
        seconds: What the run takes, as expected of a machine of this class.
        text: The text.
        machine: The machine.
    """

    preset: str
    vocab_size: int
    epochs: int | None
    steps: int | None
    fraction: float
    seconds: float | None
    text: TextSize
    machine: Machine

    @property
    def length(self) -> dict[str, int]:
        """The length as an argument of `Trainer.add_curriculum_stage`: `epochs` or `steps`."""
        if self.epochs is not None:
            return {"epochs": self.epochs}
        return {"steps": self.steps or 1}

    @property
    def model_line(self) -> str:
        """One line about the model."""
        return (
            f"model: {self.preset} with a vocabulary of {self.vocab_size:,}: {self.text}, {self.machine}; "
            "choose another with --preset"
        )

    @property
    def length_line(self) -> str:
        """One line about the length."""
        return describe_length(
            self.epochs, self.steps, self.fraction, self.seconds, is_held_out=self.text.holds_out
        )

    def __str__(self) -> str:
        return f"{self.model_line}\n{self.length_line}"


def describe_length(
    epochs: int | None, steps: int | None, fraction: float, seconds: float | None, *, is_held_out: bool
) -> str:
    """Returns one line that says how long a run is and why.

    Args:
        epochs: Epochs, or None.
        steps: Optimizer steps, or None.
        fraction: How often the text is read, also where the length is in steps.
        seconds: What the run takes; None where that is not known.
        is_held_out: Whether held-out text can end the run early.
    """
    duration = "" if seconds is None else f", {describe_duration(seconds)}"
    if epochs is None:
        part = "less than 0.1%" if fraction < 0.001 else f"{fraction:.1%}"
        all_of_it = "" if seconds is None else f" in {describe_duration(seconds / fraction)}"
        return (
            f"length: {steps:,} steps{duration}: {part} of the text, which is more than this machine reads "
            f"in that time; --epochs 1 reads all of it{all_of_it}"
        )
    if epochs == 1:
        return f"length: 1 epoch{duration}; choose another with --epochs or --steps"
    ending = ", fewer if the held-out loss stops falling" if is_held_out else ", with nothing held out"
    return f"length: {epochs} epochs{duration}{ending}; choose another with --epochs or --steps"


def describe_duration(seconds: float) -> str:
    """Returns a duration in words, rounded up."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds > 1.5 * size or unit == "minute":
            count = max(1, round(seconds / size + 0.25))
            return f"about {count:,} {unit}{'s' if count > 1 else ''}"
    raise AssertionError("unreachable")
