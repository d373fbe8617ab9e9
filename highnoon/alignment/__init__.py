"""Learning from preferences and from rewards.

- `policy_gradient`: learning from rewards of sampled sequences or actions: one objective with named presets.
- `environments`: policies on environments with the interface of Gymnasium.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "PolicyGradient": "policy_gradient.policy_gradient",
    "PolicyGradientConfig": "policy_gradient.presets",
    "PolicyWithValues": "policy_gradient.policy_with_values",
    "RolloutTrainer": "policy_gradient.rollout_trainer",
}
_PACKAGES = ("environments", "policy_gradient")

__all__ = [*_HOMES, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
