"""The family of policies with a value function: described by the policy."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.alignment.policy_gradient.policy_with_values import PolicyWithValues
from highnoon.config import ConfigError
from highnoon.files.shown import shown
from highnoon.models.families import Family, family_named
from highnoon.models.saving import ModelFolderError, describe_model


class PolicyWithValuesFamily(Family):
    """Policies with a value function; the description holds that of the policy."""

    model_class = PolicyWithValues

    def describe(self, model: keras.Model) -> dict[str, Any]:
        described = describe_model(model.policy)
        if "family" not in described:
            raise ModelFolderError(
                f"a {type(model.policy).__name__} cannot be loaded again by name; register its class by "
                "register_family"
            )
        return {"policy": described}

    def check(self, description: dict[str, Any]) -> None:
        policy = description.get("policy")
        if not isinstance(policy, dict):
            raise ConfigError(f"`policy` must be a mapping; received {shown(policy)}")
        family_named(policy.get("family", "")).check(policy)

    def make(self, description: dict[str, Any], dtype: Any = "auto") -> PolicyWithValues:
        policy = description["policy"]
        return self.model_class(family_named(policy["family"]).make(policy, dtype))
