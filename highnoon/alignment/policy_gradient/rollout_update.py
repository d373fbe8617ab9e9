"""The updates of one iteration of completions: advantages, and epochs of minibatches."""

from __future__ import annotations

from typing import Any

import numpy as np

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
        seed: Of the orders.
    """

    def __init__(
        self, learner: Learner, objective: PolicyGradient, minibatch_size: int, num_epochs: int, seed: int
    ) -> None:
        self._learner, self._objective, self._size = learner, objective, minibatch_size
        self._num_epochs, self._seed = num_epochs, seed
        self._recompute = RecomputedOutputs(objective, learner.model, learner.micro_batch_size)
        self._of_reference = None
        if objective.reference is not None and objective.axes.kl != "exact":
            reference = objective.reference.model
            self._of_reference = RecomputedOutputs(objective, reference, learner.micro_batch_size)

    def difference(self, rollout: Rollout, policy: Any) -> float:
        """Returns the largest difference of a log-probability by cached decoding and by the training step."""
        ours = self._recompute(rollout.columns)["log_probs"]
        sampled = rollout.columns["loss_weights"] > 0
        return float(np.max(np.abs(ours - rollout.decoder_log_probs(policy))[sampled]))

    def __call__(self, rollout: Rollout, rewards: np.ndarray, iteration: int) -> dict[str, float]:
        """Updates the weights, and returns the means of the metrics over the minibatches.

        Args:
            rollout: Of the iteration, at the current weights.
            rewards: (rows,).
            iteration: Its number, which determines the orders.
        """
        generator = np.random.default_rng([self._seed, iteration, 1])
        columns, constant, figures = self._columns(rollout, rewards, generator)
        num_rows = len(columns["loss_weights"])
        results = []
        for epoch in range(self._num_epochs):
            order = generator.permutation(num_rows) if epoch else np.arange(num_rows)
            for start in range(0, num_rows, self._size):
                rows = order[start : start + self._size]
                batch = {name: columns[name][rows] for name in self._objective.columns}
                results.append(self._learner.step(batch, self._objective))
        return {"reward/constant_fraction": constant, **figures, **_metrics(results)}

    def _columns(
        self, rollout: Rollout, rewards: np.ndarray, generator: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], float, dict[str, float]]:
        """Returns the columns of the rows that count, in the order of the first epoch; the fraction of rows
        in groups without spread; and figures."""
        order = generator.permutation(len(rewards))
        columns = {name: array[order] for name, array in rollout.columns.items()}
        outputs, weights = self._recompute(columns), columns["loss_weights"]
        theirs = self._of_reference(columns)["log_probs"] if self._of_reference else None
        assigned = assign_advantages(
            self._objective.axes,
            rewards[order],
            weights,
            rollout.groups[order],
            outputs["log_probs"],
            theirs,
            outputs.get("values"),
        )
        columns |= {
            "old_log_probs": outputs["log_probs"],
            "advantages": assigned.advantages.astype("float32"),
        }
        figures = {}
        if theirs is not None:
            columns["reference_log_probs"] = theirs
            nats = float(np.sum(weights * (outputs["log_probs"] - theirs)) / np.sum(weights))
            figures["policy/kl_reference"] = nats
        if assigned.returns is not None:
            columns |= {"old_values": outputs["values"], "returns": assigned.returns.astype("float32")}
        columns["loss_weights"] = assigned.weights.astype("float32")
        counts = columns["loss_weights"].any(axis=1)
        constant = assigned.num_constant_rows / len(rewards)
        # Rows that are skipped leave the minibatches, and not only the sums.
        return {name: array[counts] for name, array in columns.items()}, constant, figures


def _metrics(results: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the means over the steps of an iteration; none where all groups were without spread."""
    if not results:
        return {}
    metrics = {
        f"train/{name}": float(np.mean([result[name] for result in results]))
        for name in ("loss", "grad_norm", "learning_rate")
    }
    metrics["train/skipped_steps"] = float(sum(bool(result["is_skipped"]) for result in results))
    sums = [metric_sums(result) for result in results]
    for name in sums[0]:
        total, weight = (float(sum(np.asarray(each[name][index]) for each in sums)) for index in (0, 1))
        metrics[name] = total / max(weight, 1e-30)
    return metrics
