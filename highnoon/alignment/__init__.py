"""Alignment: learning from preferences between answers, and from rewards.

- `dpo`, `kto`, `orpo`, `simpo`: objectives of a policy. `pairwise_reward`: of a reward model.
- `preference_documents`, `labeled_answers`: records as pairs of documents.
- `pair_rows`, `pair_view`, `pair_layout`: pairs as rows of two lanes.
- `reference`: the model that a policy starts from, by derived column, by copy, or without LoRA.
- `policy_gradient`: learning from rewards of sampled sequences or actions: one objective with named presets.
- `environments`: policies on environments with the interface of Gymnasium.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "DPO": "dpo",
    "KTO": "kto",
    "LabeledAnswers": "labeled_answers",
    "ORPO": "orpo",
    "PairRows": "pair_rows",
    "PairwiseReward": "pairwise_reward",
    "PolicyGradient": "policy_gradient.policy_gradient",
    "PolicyGradientConfig": "policy_gradient.presets",
    "PolicyWithValues": "policy_gradient.policy_with_values",
    "PreferenceDocuments": "preference_documents",
    "Reference": "reference",
    "RewardModel": "reward_model",
    "RolloutTrainer": "policy_gradient.rollout_trainer",
    "SimPO": "simpo",
}
_PACKAGES = ("environments", "policy_gradient")

__all__ = [*_HOMES, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
