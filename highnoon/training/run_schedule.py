"""The learning rate of a whole run as a function of the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


class RunSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a half cosine to a floor, times the peak of the stage that a step is in.

        lr(s) = peak(stage of s) * min((s + 1) / warmup, decay(s))
        decay(s) = r + (1 - r) * (1 + cos(pi * (s - warmup) / (total - warmup))) / 2

    Args:
        peaks: Peak learning rate of each stage.
        stage_ends: Optimizer step at which each stage ends, ascending; the last is the run's length.
        warmup_steps: Steps of the warm-up; 0 for none.
        decay: `"cosine"` or `"constant"`.
        min_ratio: r, where the cosine ends as a share of the peak.

    Call arguments: a scalar step; returns a scalar float32.
    """

    def __init__(
        self,
        peaks: Sequence[float],
        stage_ends: Sequence[int],
        warmup_steps: int,
        decay: str = "cosine",
        min_ratio: float = 0.1,
    ) -> None:
        self.peaks = [float(peak) for peak in peaks]
        self.stage_ends = [int(end) for end in stage_ends]
        self.warmup_steps = int(warmup_steps)
        self.decay = decay
        self.min_ratio = float(min_ratio)

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        peak = ops.convert_to_tensor(self.peaks[0], "float32")
        for start, later_peak in zip(self.stage_ends[:-1], self.peaks[1:], strict=True):
            peak = ops.where(step >= start, later_peak, peak)
        ramp = ops.minimum((step + 1.0) / max(self.warmup_steps, 1), 1.0)
        if self.decay == "constant":
            return peak * ramp
        span = max(self.stage_ends[-1] - self.warmup_steps, 1)
        progress = ops.clip((step - self.warmup_steps) / span, 0.0, 1.0)
        cosine = self.min_ratio + (1.0 - self.min_ratio) * 0.5 * (1.0 + ops.cos(math.pi * progress))
        return peak * ramp * cosine

    def get_config(self) -> dict[str, Any]:
        return {
            "peaks": self.peaks,
            "stage_ends": self.stage_ends,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
            "min_ratio": self.min_ratio,
        }
