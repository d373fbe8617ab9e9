"""The steps of one iteration: actions drawn from the policy, and what the environments answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from highnoon.alignment.environments.seeded_environments import SeededEnvironments


class CollectedSteps(NamedTuple):
    """The steps of an iteration, environments first.

    Args:
        observations: (n, t, size) float32.
        actions: (n, t) int32.
        log_probs: (n, t) float64, as drawn.
        rewards: (n, t) float64.
        final_observations: (n, t, size) float32, after each step and before any reset.
        is_terminal: (n, t).
        is_end: (n, t); True at the last step of the iteration only where an episode ends.
    """

    observations: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    rewards: np.ndarray
    final_observations: np.ndarray
    is_terminal: np.ndarray
    is_end: np.ndarray


def collect_steps(
    environments: SeededEnvironments,
    logits_of: Callable[[np.ndarray], Any],
    num_steps: int,
    generator: np.random.Generator,
) -> CollectedSteps:
    """Takes steps in all environments, each action drawn from the policy's distribution.

    They are a function of the environments' states, the policy, and the generator's seed.

    Args:
        environments: They stay where the last step left them.
        logits_of: From observations (n, size) to logits (n, actions).
        num_steps: Steps of each environment.
        generator: Of the draws.
    """
    draws = generator.random((num_steps, environments.num_envs))
    rows = []
    for step in range(num_steps):
        observations = environments.observations.copy()
        log_probs = _log_softmax(np.asarray(logits_of(observations), np.float64))
        actions = _drawn(log_probs, draws[step])
        answer = environments.step(actions)
        taken = np.take_along_axis(log_probs, actions[:, None], axis=1)[:, 0]
        rows.append((observations, actions, taken, *answer))
    return CollectedSteps(*(np.stack(values, axis=1) for values in zip(*rows, strict=True)))


def _drawn(log_probs: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Returns the first action whose cumulative probability exceeds a uniform draw, for each row."""
    exceeds = np.cumsum(np.exp(log_probs), axis=1) > draws[:, None]
    exceeds[:, -1] = True
    return np.argmax(exceeds, axis=1).astype(np.int32)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
