"""A small network that gives a distribution of actions and a value of each state."""

from __future__ import annotations

import math
from typing import Any

import keras

from highnoon.config import require_count


class ActorCritic(keras.Model):
    """Two networks of two hidden layers: one gives logits of the actions, the other the value of a state.

        logits = W3 tanh(W2 tanh(W1 x)),   value = v3 tanh(V2 tanh(V1 x)),   each with biases

    Kernels are orthogonal with gain sqrt(2); that of the logits has gain 0.01, so that all actions begin
    almost equally likely, that of the value 1.

    Args:
        observation_size: Numbers in an observation.
        num_actions: Actions to choose from.
        hidden_dim: Width of the hidden layers.
        seed: Of the weights.

    Call arguments: observations (b, observation_size) float32. Returns logits (b, num_actions) and values
    (b,).

    Example:

    ```python
    import numpy as np
    from highnoon.alignment.environments import ActorCritic

    network = ActorCritic(observation_size=4, num_actions=2, hidden_dim=16)
    logits, values = network(np.zeros((3, 4), "float32"))
    assert logits.shape == (3, 2) and values.shape == (3,)
    ```

    Schulman et al. 2017 (arXiv:1707.06347), section 6.1, without shared layers; orthogonal kernels: Huang et
    al. 2022, "The 37 Implementation Details of Proximal Policy Optimization", detail 2.
    """

    def __init__(
        self, observation_size: int, num_actions: int, hidden_dim: int = 256, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.observation_size = require_count("observation_size", observation_size)
        self.num_actions = require_count("num_actions", num_actions)
        self.hidden_dim = require_count("hidden_dim", hidden_dim)
        self.seed = require_count("seed", seed, least=0)
        sizes = [observation_size, hidden_dim, hidden_dim]
        self.actor = self._network("actor", [*sizes, num_actions], 0.01, 0)
        self.critic = self._network("critic", [*sizes, 1], 1.0, len(sizes))
        self.built = True

    def _network(self, name: str, sizes: list[int], last_gain: float, offset: int) -> keras.Sequential:
        last = len(sizes) - 2
        layers = []
        for number, units in enumerate(sizes[1:]):
            gain = last_gain if number == last else math.sqrt(2.0)
            kernel = keras.initializers.Orthogonal(gain, seed=1000 * self.seed + offset + number)
            activation = None if number == last else "tanh"
            layers.append(
                keras.layers.Dense(
                    units, activation, kernel_initializer=kernel, dtype="float32", name=f"{name}_{number}"
                )
            )
        return keras.Sequential([keras.Input((sizes[0],)), *layers], name=name)

    def call(self, observations: Any, training: bool | None = None) -> tuple[Any, Any]:
        return self.actor(observations), self.critic(observations)[:, 0]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "observation_size": self.observation_size,
            "num_actions": self.num_actions,
            "hidden_dim": self.hidden_dim,
            "seed": self.seed,
        }
