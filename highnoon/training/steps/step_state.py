"""What a step remembers besides weights and the optimizer's slots."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

_FIRST_LOSS_SCALE = 2.0**15
_LARGEST_LOSS_SCALE = 2.0**24
_STEPS_BETWEEN_RISES = 2000
_LOSSES_BEFORE_SPIKES = 20
_MEMORY_OF_LOSSES = 0.98


@dataclasses.dataclass(frozen=True)
class FaultLimits:
    """Which steps are skipped.

    Args:
        spike_threshold: A loss this many standard deviations above its running mean counts as a
            fault, like one that is not finite; None accepts it.
        scales_loss: Whether the loss is scaled, for gradients in float16: then gradients that are not
            finite under a finite loss halve the scale, and are no fault while it is above 1.
    """

    spike_threshold: float | None = None
    scales_loss: bool = False


class StepState:
    """Sums and counters on the device, equal on all replicas; made within the strategy's scope.

    `loss_total` and `token_total` add up an epoch's loss in float64; `skipped` counts the skipped
    steps, `skipped_in_a_row` those since the last good one; `loss_mean` and `loss_square` are running
    means over good steps; `loss_scale` is float16's.
    """

    _BEGINNING = {
        "loss_total": (0.0, "float64"),
        "token_total": (0.0, "float64"),
        "skipped": (0, "int64"),
        "skipped_in_a_row": (0, "int64"),
        "num_losses": (0.0, "float32"),
        "loss_mean": (0.0, "float32"),
        "loss_square": (0.0, "float32"),
        "loss_scale": (_FIRST_LOSS_SCALE, "float32"),
        "steps_at_scale": (0, "int64"),
    }

    def __init__(self) -> None:
        self._by_name = {
            name: keras.Variable(
                value,
                dtype=dtype,
                trainable=False,
                name=name,
                autocast=False,
                aggregation="only_first_replica",
            )
            for name, (value, dtype) in self._BEGINNING.items()
        }

    @property
    def variables(self) -> list[keras.Variable]:
        return list(self._by_name.values())

    def __getitem__(self, name: str) -> Any:
        """The number that a variable holds; this waits for the step."""
        return self._by_name[name].numpy().item()

    def assign(self, name: str, value: float) -> None:
        """Sets the number that a variable holds."""
        self._by_name[name].assign(value)

    def start_epoch(self, loss_total: float = 0.0, token_total: float = 0.0) -> None:
        """Sets the epoch's sums: to zero at its start, to saved values on resuming."""
        self._by_name["loss_total"].assign(loss_total)
        self._by_name["token_total"].assign(token_total)

    def reset_fault_counters(self) -> None:
        """Starts the count of skipped steps in a row and the running means of the loss again."""
        self._by_name["skipped_in_a_row"].assign(0)
        self.forget_losses()

    def forget_losses(self) -> None:
        """Forgets which losses were usual: the running means start again."""
        for name in ("num_losses", "loss_mean", "loss_square"):
            self._by_name[name].assign(0)

    def values(self) -> dict[str, Any]:
        """The variables' values as tensors."""
        return {name: tf.convert_to_tensor(variable.value) for name, variable in self._by_name.items()}


def judge(
    now: dict[str, Any], loss_sum: Any, num_tokens: Any, grad_norm: Any, limits: FaultLimits
) -> tuple[Any, dict[str, Any]]:
    """Returns whether a step may be applied, and the state after it.

    Args:
        now: `StepState.values()`.
        loss_sum: Of the global batch.
        num_tokens: Its weight: for next-token prediction the supervised tokens.
        grad_norm: Global norm of the gradient, without the loss scale.
        limits: What counts as a fault.
    """
    loss = loss_sum / tf.maximum(num_tokens, 1.0)
    is_loss_finite, is_finite = tf.math.is_finite(loss), tf.math.is_finite(grad_norm)
    is_good = tf.logical_and(is_loss_finite, is_finite)
    is_fault = tf.logical_not(is_good)
    new: dict[str, Any] = {}
    if limits.scales_loss:
        is_overflow = is_loss_finite & tf.logical_not(is_finite) & (now["loss_scale"] > 1.0)
        is_fault = tf.logical_and(is_fault, tf.logical_not(is_overflow))
        new |= _scale_after(now, is_finite)
    if limits.spike_threshold is not None:
        spread = tf.sqrt(tf.maximum(now["loss_square"] - now["loss_mean"] ** 2, 0.0))
        is_high = loss > now["loss_mean"] + limits.spike_threshold * spread
        is_spike = is_good & is_high & (now["num_losses"] >= _LOSSES_BEFORE_SPIKES)
        is_good, is_fault = is_good & tf.logical_not(is_spike), is_fault | is_spike
    fault, good = tf.cast(is_fault, tf.int64), tf.cast(is_good, tf.float32)
    # A step in which nothing is supervised does not tell which losses are usual.
    counted = good * tf.cast(num_tokens > 0, tf.float32)
    # The first losses are averaged evenly.
    weight = counted * tf.maximum(1.0 - _MEMORY_OF_LOSSES, 1.0 / (now["num_losses"] + 1.0))
    seen = tf.where(is_good, loss, now["loss_mean"])
    new |= {
        "loss_total": now["loss_total"] + tf.where(is_good, tf.cast(loss_sum, tf.float64), 0.0),
        "token_total": now["token_total"] + tf.where(is_good, tf.cast(num_tokens, tf.float64), 0.0),
        "skipped": now["skipped"] + fault,
        "skipped_in_a_row": tf.where(is_good, tf.zeros_like(fault), now["skipped_in_a_row"] + fault),
        "num_losses": now["num_losses"] + counted,
        "loss_mean": now["loss_mean"] + weight * (seen - now["loss_mean"]),
        "loss_square": now["loss_square"] + weight * (seen**2 - now["loss_square"]),
    }
    return is_good, now | new


def _scale_after(now: dict[str, Any], is_finite: Any) -> dict[str, Any]:
    """Doubled after many finite steps, halved after one that is not."""
    steps = now["steps_at_scale"] + 1
    rises = steps >= _STEPS_BETWEEN_RISES
    raised = tf.where(rises, tf.minimum(2.0 * now["loss_scale"], _LARGEST_LOSS_SCALE), now["loss_scale"])
    return {
        "loss_scale": tf.where(is_finite, raised, tf.maximum(0.5 * now["loss_scale"], 1.0)),
        "steps_at_scale": tf.where(is_finite & tf.logical_not(rises), steps, tf.zeros_like(steps)),
    }
