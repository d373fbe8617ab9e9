"""Policies on environments with the interface of Gymnasium.

- `seeded_environments`: several environments that are a function of their seeds and actions.
- `actor_critic`: a small network that gives a distribution of actions and a value.
- `action_policy_gradient`: the objective of a policy gradient on single steps.
- `collect_steps`, `policy_update`: the steps of an iteration, and the updates from them.
- `policy_trainer`: the loop over iterations.
- `returns_curve`: a plot of the returns.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ActionPolicyGradient": "action_policy_gradient",
    "ActorCritic": "actor_critic",
    "PolicyTrainer": "policy_trainer",
    "SeededEnvironments": "seeded_environments",
    "plot_returns": "returns_curve",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
