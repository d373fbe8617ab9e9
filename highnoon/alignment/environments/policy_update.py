"""The updates of one iteration: advantages, and epochs of minibatches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from highnoon.alignment.environments.action_policy_gradient import ActionPolicyGradient
from highnoon.alignment.environments.collect_steps import CollectedSteps
from highnoon.alignment.policy_gradient.advantages import generalized_advantages, whiten
from highnoon.alignment.policy_gradient.recomputed import RecomputedOutputs
from highnoon.training.learner import Learner
from highnoon.training.steps.micro_batches import metric_sums
from highnoon.training.steps.replicas import FIRST_ROW, STOP


class PolicyUpdate:
    """Takes epochs of minibatches over the steps of an iteration, each in another order.

    The log-probabilities and values of the steps are recomputed first, in the order and the minibatches of
    the first epoch, so that its first ratios are exactly 1. Advantages are whitened once, over all steps of
    the iteration.

    Args:
        learner: Takes the steps of the optimizer.
        objective: Is minimized.
        minibatch_size: Steps of one update.
        num_epochs: Epochs of an iteration.
        target_kl: No further epoch after one with a larger divergence; None for all epochs.
        seed: Of the orders.
    """

    def __init__(
        self,
        learner: Learner,
        objective: ActionPolicyGradient,
        minibatch_size: int,
        num_epochs: int,
        target_kl: float | None,
        seed: int,
    ) -> None:
        self._learner, self._objective, self._size = learner, objective, minibatch_size
        self._num_epochs, self._target_kl, self._seed = num_epochs, target_kl, seed
        self._recompute = RecomputedOutputs(objective, learner.model, minibatch_size)

    def __call__(self, steps: CollectedSteps, iteration: int) -> dict[str, float]:
        """Updates the weights, and returns the means of the metrics over the minibatches.

        `train/skipped_steps` is the count of the run.

        Args:
            steps: Of the iteration.
            iteration: Its number, which determines the orders.
        """
        generator = np.random.default_rng([self._seed, iteration, 1])
        order = generator.permutation(steps.actions.size)
        columns, figures = self._columns(steps, order)
        passes: list[Mapping[str, Any]] = []
        for epoch in range(self._num_epochs):
            rows = columns
            if epoch:
                again = generator.permutation(steps.actions.size)
                rows = {name: array[again] for name, array in columns.items()}
            passes.append(self._pass(rows))
            if self._target_kl is not None and _mean(passes[-1:], "policy/kl_step") > self._target_kl:
                break
        skipped = float(self._learner.state["skipped"])
        return {**_metrics(passes), "train/skipped_steps": skipped, **figures}

    def _columns(
        self, steps: CollectedSteps, order: np.ndarray
    ) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Returns the columns of all rows in an order, and figures about them."""
        axes, shape = self._objective.axes, steps.actions.shape
        rows = {
            "observations": steps.observations.reshape(steps.actions.size, -1)[order],
            "actions": steps.actions.reshape(-1, 1)[order],
        }
        outputs = self._recompute(rows)
        values = outputs["values"][np.argsort(order), 0].reshape(shape)
        finals = steps.final_observations.reshape(steps.actions.size, -1)
        after = self._recompute({"observations": finals, "actions": steps.actions.reshape(-1, 1)})["values"]
        advantages = generalized_advantages(
            steps.rewards,
            values,
            after.reshape(shape),
            steps.is_terminal,
            steps.is_end,
            axes.discount,
            axes.gae_lambda,
        )
        returns = advantages + values
        if axes.whiten:
            advantages = whiten(advantages, np.ones(shape))
        drawn = steps.log_probs.reshape(-1, 1)[order]
        figures = {
            "policy/log_prob_difference": float(np.max(np.abs(outputs["log_probs"] - drawn))),
            "policy/explained_variance": _explained_variance(values, returns),
        }
        by_step = {"advantages": advantages, "returns": returns}
        columns = {name: array.reshape(-1, 1)[order].astype("float32") for name, array in by_step.items()}
        return {
            **rows,
            **columns,
            "old_log_probs": outputs["log_probs"],
            "old_values": outputs["values"],
            "loss_weights": np.ones_like(outputs["values"]),
        }, figures

    def _pass(self, rows: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """Takes a step of the optimizer for each minibatch, in one call of the device."""
        batches = {name: array.reshape(-1, self._size, *array.shape[1:]) for name, array in rows.items()}
        own = {FIRST_ROW: np.asarray(0, np.int32), STOP: np.asarray(0.0, np.float32)}
        results = self._learner.several({**batches, **own}, self._objective)
        return {name: np.asarray(value) for name, value in results.items()}


def _mean(passes: list[Mapping[str, Any]], name: str) -> float:
    sums = [metric_sums(results)[name] for results in passes]
    return float(sum(np.sum(total) for total, _ in sums) / sum(np.sum(weight) for _, weight in sums))


def _metrics(passes: list[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the means over all minibatches of all passes."""
    names = ("loss", "grad_norm", "learning_rate")
    metrics = {f"train/{name}": float(np.mean([results[name] for results in passes])) for name in names}
    return metrics | {name: _mean(passes, name) for name in metric_sums(passes[0])}


def _explained_variance(values: np.ndarray, returns: np.ndarray) -> float:
    """1 where the values are the returns, 0 where they are as good as a constant; 0 for constant returns."""
    variance = float(np.var(returns))
    return 1.0 - float(np.var(returns - values)) / variance if variance else 0.0
