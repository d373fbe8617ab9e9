"""A run whose steps and evaluations follow a script: everything is real but the compiled functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from highnoon.training.run import TrainingRun
from highnoon.training.validation import SplitLoss


class ScriptedStep:
    """Takes the place of the compiled step.

    A good step adds a number that depends on its batch and its learning rate to the first weight; `faults`
    says which steps are skipped (`"skip"`) or leave an infinite weight (`"inf"`).
    """

    def __init__(self, run: TrainingRun, micro_batch_size: int, faults: dict[int, str]) -> None:
        self.run, self.micro_batch_size, self._faults = run, micro_batch_size, faults

    def can_take_several(self, row_length: int) -> bool:
        return False

    def __call__(self, batch: dict[str, Any], loss_weight: float, measures: bool) -> dict[str, Any]:
        optimizer, state = self.run.optimizer, self.run.step_state._by_name
        fault = self._faults.get(self.run.progress.step + 1)
        rate = float(optimizer.learning_rate)
        optimizer.iterations.assign_add(1)
        weight = self.run.model.trainable_variables[0]
        loss = 1.0 + float(np.sum(batch["token_ids"]) % 97) / 97
        if fault == "skip":
            state["skipped"].assign_add(1)
            state["skipped_in_a_row"].assign_add(1)
        else:
            state["skipped_in_a_row"].assign(0)
            state["loss_total"].assign_add(10.0 * loss)
            state["token_total"].assign_add(10.0)
            weight.assign_add(np.full(weight.shape, loss * (0.001 + rate), "float32"))
            if fault == "inf":
                weight.assign(np.full(weight.shape, np.inf, "float32"))
            for average in optimizer.averages()[:1]:
                average.assign(0.5 * average + 0.5 * weight)
        return {
            "loss": np.nan if fault == "skip" else loss, "grad_norm": 1.0, "learning_rate": rate,
            "num_tokens": 10.0, "num_stops": 0.0, "is_skipped": fault == "skip",
            "skipped_in_a_row": int(state["skipped_in_a_row"].numpy()),
        }


def install(monkeypatch: Any) -> Callable[..., None]:
    """Makes all runs scripted; returns `script(faults={step: fault}, losses={evaluation: loss})`.

    Losses are by the order of evaluations in the process, from 0; others fall slowly.
    """
    faults: dict[int, str] = {}
    losses: dict[int, float] = {}
    count = [0]

    def evaluate(self: Any, batches: Any) -> SplitLoss:
        loss = losses.get(count[0], 9.0 - 0.01 * count[0])
        count[0] += 1
        return SplitLoss(loss * 10.0, 10.0)

    def script(faults_: dict[int, str] | None = None, losses_: dict[int, float] | None = None) -> None:
        count[0] = 0
        for kept, given in ((faults, faults_), (losses, losses_)):
            kept.clear()
            kept.update(given or {})

    monkeypatch.setattr(TrainingRun, "_step_for", lambda run, size: ScriptedStep(run, size, faults))
    monkeypatch.setattr("highnoon.training.run.ValidationStep.__call__", evaluate)
    return script
