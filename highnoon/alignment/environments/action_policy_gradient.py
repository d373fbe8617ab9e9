"""A policy gradient on single steps of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.alignment.policy_gradient.policy_gradient import PolicyGradient
from highnoon.alignment.policy_gradient.policy_outputs import PolicyOutputs
from highnoon.config import require_count
from highnoon.training.objective import Column, register_objective

_STEP = Column("float32", (1,))


@register_objective("action_policy_gradient")
class ActionPolicyGradient(PolicyGradient):
    """`PolicyGradient` for rows that are single steps of an environment.

    A row has an observation, the action that was taken, and what the objective of sequences needs for a
    sequence of one token. The loss is therefore the same function, and so are its presets.

    Args:
        observation_size: Numbers in an observation.
        preset: As of `PolicyGradient`; without a reference, only those with `kl="none"`.
        **axes: Fields of `PolicyGradientConfig` in place of the preset's.

    Example:

    ```python
    from highnoon.alignment.environments import ActionPolicyGradient

    objective = ActionPolicyGradient(4, kl="none", kl_weight=0.0, entropy_weight=0.01)
    assert objective.columns["actions"].axes == (1,)
    ```
    """

    input_names = ("observations", "actions")

    def __init__(self, observation_size: int, preset: str = "ppo", **axes: Any) -> None:
        self.observation_size = require_count("observation_size", observation_size)
        super().__init__(preset, **axes)

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
        """Returns what a network that gives logits (b, actions) and values (b,) says of the steps."""
        logits, values = model(batch["observations"], training=training)
        return PolicyOutputs.of_logits(
            ops.expand_dims(logits, 1), batch["actions"], ops.expand_dims(values, 1)
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("reference", "reference_hash", "temperature"):
            config.pop(name)
        return {"observation_size": self.observation_size, **config}
