"""The updates of one iteration of completions: advantages, and epochs of minibatches."""

from __future__ import annotations

from typing import Any

import numpy as np

from highnoon.alignment.policy_gradient.advantages import group_advantages
from highnoon.alignment.policy_gradient.assigned_advantages import assign_advantages
from highnoon.alignment.policy_gradient.policy_gradient import PolicyGradient
from highnoon.alignment.policy_gradient.recomputed import RecomputedOutputs
from highnoon.alignment.policy_gradient.rollouts import Rollout
from highnoon.training.learner import Learner
from highnoon.training.steps.micro_batches import metric_sums


class RolloutUpdate:
    """Takes epochs of minibatches over the completions of an iteration, each in another order.

    Args:
        learner: Takes the steps of the optimizer.
        objective: Is minimized.
        minibatch_size: Completions of one update.
        num_epochs: Epochs of an iteration.
        target_kl: No further update after one that sees a larger divergence; None for all updates.
        seed: Of the orders.
    """

    def __init__(
        self,
        learner: Learner,
        objective: PolicyGradient,
        minibatch_size: int,
        num_epochs: int,
        target_kl: float | None,
        seed: int,
    ) -> None:
        self._learner, self._objective, self._size = learner, objective, minibatch_size
        self._num_epochs, self._target_kl, self._seed = num_epochs, target_kl, seed
        self._recompute = RecomputedOutputs(objective, learner.model, learner.micro_batch_size)
        self._of_reference = None
        if objective.reference is not None and objective.axes.kl != "exact":
            reference = objective.reference.model
            self._of_reference = RecomputedOutputs(
                objective, reference, learner.micro_batch_size, training=False
            )

    def difference(self, rollout: Rollout, policy: Any) -> float:
        """Returns the largest difference of a log-probability by cached decoding and by the training step."""
        of_step = self._recompute(rollout.columns)["log_probs"]
        sampled = rollout.columns["loss_weights"] > 0
        return float(np.max(np.abs(of_step - rollout.decoder_log_probs(policy))[sampled]))

    def __call__(self, rollout: Rollout, rewards: np.ndarray, iteration: int) -> dict[str, float]:
        """Updates the weights, and returns the means of the metrics over the minibatches.

        `train/skipped_steps` is the count of the run.

        Args:
            rollout: Of the iteration, at the current weights.
            rewards: (rows,).
            iteration: Its number, which determines the orders.
        """
        generator = np.random.default_rng([self._seed, iteration, 1])
        order = generator.permutation(len(rewards))
        kept = order[self._is_kept(rewards, rollout.groups)[order]]
        metrics = {"reward/constant_fraction": 1.0}
        if len(kept):
            columns, metrics = self._columns(rollout, rewards, kept)
            metrics |= _metrics(self._updates(columns, generator))
        return {**metrics, "train/skipped_steps": float(self._learner.state["skipped"])}

    def _is_kept(self, rewards: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Returns the rows whose groups are not known to be skipped before anything is computed."""
        axes = self._objective.axes
        # Each completion's divergence is part of its reward where kl="reward", and is not known yet.
        if not axes.skip_constant_groups or not axes.has_groups or axes.kl == "reward":
            return np.ones(len(rewards), bool)
        return group_advantages(rewards, groups).has_spread

    def _updates(
        self, columns: dict[str, np.ndarray], generator: np.random.Generator
    ) -> list[dict[str, Any]]:
        """Takes the steps of all epochs, or until the policy is too far from the one that sampled."""
        num_rows, results = len(columns["loss_weights"]), []
        for epoch in range(self._num_epochs):
            order = generator.permutation(num_rows) if epoch else np.arange(num_rows)
            for start in range(0, num_rows, self._size):
                rows = order[start : start + self._size]
                batch = {name: columns[name][rows] for name in self._objective.columns}
                results.append(self._learner.step(batch, self._objective))
                if self._target_kl is not None and _kl_step(results[-1]) > self._target_kl:
                    return results
        return results

    def _columns(
        self, rollout: Rollout, rewards: np.ndarray, kept: np.ndarray
    ) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Returns the columns of the rows that count, in the order of the first epoch, and figures."""
        columns = {name: array[kept] for name, array in rollout.columns.items()}
        outputs, weights = self._recompute(columns), columns["loss_weights"]
        of_reference = self._of_reference(columns)["log_probs"] if self._of_reference else None
        assigned = assign_advantages(
            self._objective.axes,
            rewards[kept],
            weights,
            rollout.groups[kept],
            outputs["log_probs"],
            of_reference,
            outputs.get("values"),
        )
        num_constant = len(rewards) - len(kept) + assigned.num_constant_rows
        figures = {"reward/constant_fraction": num_constant / len(rewards)}
        columns |= {"advantages": assigned.advantages.astype("float32")}
        if of_reference is not None:
            columns["reference_log_probs"] = of_reference
            nats = float(np.sum(weights * (outputs["log_probs"] - of_reference)) / np.sum(weights))
            figures["policy/kl_reference"] = nats
        if assigned.returns is not None:
            columns["returns"] = assigned.returns.astype("float32")
        columns["loss_weights"] = assigned.weights.astype("float32")
        counts = columns["loss_weights"].any(axis=1)
        if not counts.all():
            columns = {name: array[counts] for name, array in columns.items()}
            # The rows that stay are in other micro-batches than those that were computed.
            outputs = self._recompute(columns) if counts.any() else {"log_probs": weights[counts]}
        columns["old_log_probs"] = outputs["log_probs"]
        if assigned.returns is not None:
            columns["old_values"] = outputs["values"]
        return columns, figures


def _kl_step(result: dict[str, Any]) -> float:
    total, weight = metric_sums(result)["policy/kl_step"]
    return float(np.asarray(total)) / max(float(np.asarray(weight)), 1e-30)


def _metrics(results: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the means over the steps of an iteration; none where all groups were without spread."""
    if not results:
        return {}
    metrics = {
        f"train/{name}": float(np.mean([result[name] for result in results]))
        for name in ("loss", "grad_norm", "learning_rate")
    }
    sums = [metric_sums(result) for result in results]
    for name in sums[0]:
        total, weight = (float(sum(np.asarray(each[name][index]) for each in sums)) for index in (0, 1))
        metrics[name] = total / max(weight, 1e-30)
    return metrics
