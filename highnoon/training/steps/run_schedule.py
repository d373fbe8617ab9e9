"""The learning rate of an entire run as a function of the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


class RunSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a decay to a floor, times the peak of the stage that a step is in.

        lr(s) = peak(stage at q) * min(1, (s + 1) / warmup) * decay(p),   p = (q - warmup) / (total - warmup)

        cosine        r + (1 - r) (1 + cos(pi p)) / 2
        linear        1 - (1 - r) p
        wsd           1 - (1 - r) max(0, p' - 1 + d) / d,   p' = q / total   (steady, then linear)
        inverse_sqrt  sqrt(max(warmup, 1) / max(s + 1, warmup, 1))
        constant      1

    s counts the steps really taken. q is the position in the plan: the same number, until a run takes fewer
    steps than planned (an adaptive curriculum, early stopping), which `align` then accounts for:

        q = position + (s - step) * pace

    Args:
        peaks: Peak learning rate of each stage.
        stage_ends: Planned step at which each stage ends, ascending; the last is the run's length.
        warmup_steps: Steps of the warm-up; 0 for none.
        decay: One of `highnoon.config.SCHEDULES`.
        min_ratio: r, where cosine, linear and wsd end, as a fraction of the peak.
        decay_ratio: d, the fraction of the run over which wsd decays.

    Call arguments: a scalar step; returns a scalar float32.

    wsd: Hu et al. 2024, MiniCPM (arXiv:2404.06395), section 4; inverse_sqrt: Vaswani et al. 2017
    (arXiv:1706.03762), equation 3.
    """

    def __init__(
        self,
        peaks: Sequence[float],
        stage_ends: Sequence[int],
        warmup_steps: int,
        decay: str = "cosine",
        min_ratio: float = 0.1,
        decay_ratio: float = 0.2,
    ) -> None:
        self.peaks = [float(peak) for peak in peaks]
        self.stage_ends = [int(end) for end in stage_ends]
        self.warmup_steps = int(warmup_steps)
        self.decay = decay
        self.min_ratio = float(min_ratio)
        self.decay_ratio = float(decay_ratio)
        self._step, self._position, self._pace = (
            keras.Variable(
                value,
                dtype="float32",
                trainable=False,
                name=name,
                autocast=False,
                aggregation="only_first_replica",
            )
            for name, value in (("step", 0.0), ("position", 0.0), ("pace", 1.0))
        )

    @property
    def is_constant(self) -> bool:
        """Whether the learning rate is the same at each step, so that a callback may set it."""
        return self.decay == "constant" and self.warmup_steps == 0 and len(set(self.peaks)) == 1

    def align(self, step: int, position: float, pace: float) -> None:
        """Sets the position of the run in the plan; it is not saved, since progress and plan determine it.

        Args:
            step: An optimizer step of the run, often the first of an epoch.
            position: Its position in the plan, in planned steps.
            pace: Planned steps that each step from there on counts for.
        """
        for variable, value in ((self._step, step), (self._position, position), (self._pace, pace)):
            variable.assign(float(value))

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        position = self._position + (step - self._step) * self._pace
        peak = ops.convert_to_tensor(self.peaks[0], "float32")
        for start, later_peak in zip(self.stage_ends[:-1], self.peaks[1:], strict=True):
            peak = ops.where(position >= start, later_peak, peak)
        ramp = ops.minimum((step + 1.0) / max(self.warmup_steps, 1), 1.0)
        return peak * ramp * self._decayed(step, position)

    def _decayed(self, step: Any, position: Any) -> Any:
        total, fall = self.stage_ends[-1], 1.0 - self.min_ratio
        done = ops.clip((position - self.warmup_steps) / max(total - self.warmup_steps, 1), 0.0, 1.0)
        if self.decay == "cosine":
            return self.min_ratio + fall * 0.5 * (1.0 + ops.cos(math.pi * done))
        if self.decay == "linear":
            return 1.0 - fall * done
        if self.decay == "wsd":
            last = ops.clip(position / max(total, 1), 0.0, 1.0) - 1.0 + self.decay_ratio
            return 1.0 - fall * ops.maximum(last, 0.0) / self.decay_ratio
        if self.decay == "inverse_sqrt":
            warmup = max(self.warmup_steps, 1)
            return ops.sqrt(warmup / ops.maximum(step + 1.0, warmup))
        return 1.0

    def get_config(self) -> dict[str, Any]:
        return {
            "peaks": self.peaks,
            "stage_ends": self.stage_ends,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
            "min_ratio": self.min_ratio,
            "decay_ratio": self.decay_ratio,
        }
