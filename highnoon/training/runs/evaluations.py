"""Held-out figures of a run: losses of each dataset, and those of the evaluators."""

from __future__ import annotations

import functools
import math
import operator
import time
from typing import Any

from highnoon.training.evaluators import Evaluator
from highnoon.training.plans.stage_data import StageData
from highnoon.training.runs.held_out_bytes import bits_per_byte
from highnoon.training.runs.run_state import RunState
from highnoon.training.runs.saving import Saving
from highnoon.training.steps.evaluation import require_weight
from highnoon.training.steps.random_states import undisturbed_random_states

PERIODIC_VALIDATION_TOKENS = 2**18


class Evaluations:
    """Evaluates a run's model on held-out data.

    Args:
        state: The run.
        saving: Learns of a new lowest loss.
    """

    def __init__(self, state: RunState, saving: Saving) -> None:
        self._state, self._saving = state, saving

    def evaluate(self, data: StageData) -> float | None:
        """Returns the held-out loss of a stage, or None where nothing is held out.

        A step is evaluated once: what was found before, also before a kill, holds.
        """
        state, progress = self._state, self._state.progress
        if data.validation_rows is None:
            return None
        if progress.evaluated_step == progress.step:
            return progress.evaluated_loss
        began = time.perf_counter()
        limits = state.settings.limits
        batches_of = data.validation_batches_by_dataset(
            PERIODIC_VALIDATION_TOKENS, limits.validation_steps, limits.validation_batch_size
        )
        state.callbacks.hook("on_test_begin", {})
        with state.learner.averaged():
            parts = {
                name: state.learner.evaluate(batches, data.objective) for name, batches in batches_of.items()
            }
            figures, counts = self._evaluators_figures(data)
        split = require_weight(functools.reduce(operator.add, parts.values()))
        state.callbacks.hook("on_test_end", {"loss": split.loss})
        metrics = {
            f"val/{name}": value for name, value in data.objective.report(split.loss, split.metrics).items()
        }
        if len(parts) > 1:
            # A few rows of a dataset may hold no supervised token, and then have no loss.
            metrics |= {f"val/loss/{name}": part.loss for name, part in parts.items() if part.weight}
        metrics |= bits_per_byte(data, parts) | figures
        fields: dict[str, Any] = {"metrics": metrics} | ({"counts": counts} if counts else {})
        state.callbacks.event("evaluation", stage=data.stage.name, step=progress.step, **fields)
        progress.record_evaluation(split.loss, metrics)
        is_lowest = progress.record_lowest(split.loss, data.validation_key, metrics.get("val/bits_per_byte"))
        if is_lowest and not state.learner.find_non_finite():
            self._saving.is_best = self._saving.is_due = True
            if (best := self._saving.checkpoints.best) is not None:
                best.keep(progress.step)
        state.pause(time.perf_counter() - began)
        return split.loss

    def tell_scheduler(self, data: StageData, when: int, loss: float | None) -> None:
        """Shows a loss to an adaptive scheduler; one that is not finite says nothing of the model."""
        if loss is None or not math.isfinite(loss):
            return
        if hasattr(data.stage.scheduler, "update_with_loss"):
            data.stage.scheduler.update_with_loss(epoch=when, current_loss=loss)

    def _evaluators_figures(self, data: StageData) -> tuple[dict[str, float], dict[str, float]]:
        """The figures of the run's evaluators, and how much each of them is a mean of."""
        evaluators: list[Evaluator] = list(self._state.settings.evaluators)
        if not evaluators:
            return {}, {}
        sample = next(iter(data.validation_batches()))
        figures, counts = {}, {}
        for evaluator in evaluators:
            with undisturbed_random_states(self._state.model):
                found = evaluator.evaluate(self._state.model, sample, self._state.progress.step)
            for name, figure in found.items():
                figures[f"val/{name}"], counts[f"val/{name}"] = float(figure.value), float(figure.count)
        return figures, counts
