"""Policy gradients: one objective with four axes, whose named presets are the published algorithms.

- `presets`: the axes, and their values for PPO, GRPO, Dr. GRPO, DAPO, RLOO, GSPO and REINFORCE.
- `advantages`: generalized, group and leave-one-out advantages, whitening (NumPy).
- `assigned_advantages`: from the rewards of an iteration to the columns of its batches.
- `surrogate`: ratios, their clipping, and the weight of each token.
- `divergence`: the divergence from the reference, exact or by a named estimator.
- `policy_outputs`: log-probabilities, entropies and values of a batch.
- `policy_with_values`, `policy_with_values_family`: a language model with a value function, and its file.
- `policy_gradient`: the objective; `recomputed`: the policy's outputs as the training step computes them.
- `rewards`: rewards from plain functions; `rollouts`: completions that a policy samples.
- `rollout_trainer`, `rollout_update`: the loop over iterations, and the updates of one.
- `policy_checkpoints`, `policy_log`: checkpoints and metrics of such loops.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AssignedAdvantages": "assigned_advantages",
    "PRESETS": "presets",
    "PolicyGradient": "policy_gradient",
    "PolicyGradientConfig": "presets",
    "PolicyWithValues": "policy_with_values",
    "RecomputedOutputs": "recomputed",
    "Rewards": "rewards",
    "Rollout": "rollouts",
    "RolloutTrainer": "rollout_trainer",
    "assign_advantages": "assigned_advantages",
    "generalized_advantages": "advantages",
    "group_advantages": "advantages",
    "leave_one_out_advantages": "advantages",
    "policy_gradient_config": "presets",
    "sample_rollout": "rollouts",
    "whiten": "advantages",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
