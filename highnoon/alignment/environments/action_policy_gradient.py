"""A policy gradient on single steps of an environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.alignment.policy_gradient.policy_gradient import PolicyGradient
from highnoon.alignment.policy_gradient.policy_outputs import PolicyOutputs
from highnoon.alignment.policy_gradient.presets import PolicyGradientConfig, policy_gradient_config
from highnoon.config import ConfigError, require_count, shown
from highnoon.config.keys import resolve_keys
from highnoon.training.objective import Column, register_objective

_STEP = Column("float32", (1,))

STEP_AXES = (
    "whiten",
    "clip_low",
    "clip_high",
    "entropy_weight",
    "value_weight",
    "value_clip",
    "discount",
    "gae_lambda",
)
"""Fields of `PolicyGradientConfig` that mean something for single steps."""

_ABOUT_COMPLETIONS = {
    "reference",
    "reference_hash",
    "temperature",
    *(field.name for field in dataclasses.fields(PolicyGradientConfig)),
}.difference(STEP_AXES)


@register_objective("action_policy_gradient")
class ActionPolicyGradient(PolicyGradient):
    """`PolicyGradient` for rows that are single steps of an environment.

    A row has an observation, the action that was taken, and what the objective of sequences needs for a
    sequence of one token. The loss is therefore the same function, without a divergence from a reference.

    Args:
        observation_size: Numbers in an observation.
        preset: One with generalized advantages: `"ppo"`.
        **axes: Fields of `PolicyGradientConfig` in place of the preset's: `whiten`, `clip_low`, `clip_high`,
            `entropy_weight`, `value_weight`, `value_clip`, `discount` and `gae_lambda`. The others are about
            completions, groups of them or a reference.

    Raises:
        ConfigError: an argument is out of its range, or is about completions.

    Example:

    ```python
    from highnoon.alignment.environments import ActionPolicyGradient

    objective = ActionPolicyGradient(4, entropy_weight=0.01)
    assert objective.columns["actions"].axes == (1,)
    ```
    """

    input_names = ("observations", "actions")

    def __init__(self, observation_size: int, preset: str = "ppo", **axes: Any) -> None:
        self.observation_size = require_count("observation_size", observation_size)
        _require_step_axes(preset, axes)
        super().__init__(preset, kl="none", kl_weight=0.0, **axes)

    def _columns(self) -> dict[str, Column]:
        names = ["loss_weights", "old_log_probs", "advantages"]
        names += ["returns", "old_values"] if self.axes.has_values else []
        observations = Column("float32", (self.observation_size,))
        return {"observations": observations, "actions": Column("int32", (1,)), **dict.fromkeys(names, _STEP)}

    def aux_weight(self, batch: Mapping[str, Any]) -> Any:
        """Steps."""
        return ops.sum(batch["loss_weights"])

    def num_tokens(self, batch: Mapping[str, Any]) -> Any:
        """Steps."""
        return ops.sum(batch["loss_weights"])

    def outputs(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> PolicyOutputs:
        """Returns what a network that gives logits (b, actions) and values (b,) computes for the steps."""
        logits, values = model(batch["observations"], training=training)
        return PolicyOutputs.of_logits(
            ops.expand_dims(logits, 1), batch["actions"], ops.expand_dims(values, 1)
        )

    def get_config(self) -> dict[str, Any]:
        axes = {name: getattr(self.axes, name) for name in STEP_AXES}
        return {"observation_size": self.observation_size, "preset": self.preset, **axes}


def _require_step_axes(preset: str, axes: Mapping[str, Any]) -> None:
    advantage = policy_gradient_config(preset).advantage
    if advantage != "gae":
        raise ConfigError(
            f"an environment has steps and no completions, so `preset` must have advantage='gae'; received "
            f"{preset!r} with {advantage!r}; use preset='ppo'"
        )
    for name, value in resolve_keys(axes, {*STEP_AXES, *_ABOUT_COMPLETIONS}, "ActionPolicyGradient").items():
        if name not in STEP_AXES:
            raise ConfigError(
                f"`{name}` is about completions or a reference, and single steps have neither; received "
                f"{name}={shown(value)}; leave it out, or give one of {', '.join(STEP_AXES)}"
            )
