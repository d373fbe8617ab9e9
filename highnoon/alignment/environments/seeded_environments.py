"""Several environments, stepped together, that are a function of their seeds and actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from highnoon.config import ConfigError, require_count, shown
from highnoon.files.step_folders import CheckpointError


class EnvironmentSteps(NamedTuple):
    """What one step of all environments gives.

    Args:
        rewards: (n,) float64.
        final_observations: (n, size) float32, after the step and before any reset.
        is_terminal: (n,), whether the state after the step has no future.
        is_end: (n,), whether the episode ended, by its own rules or by a time limit.
    """

    rewards: np.ndarray
    final_observations: np.ndarray
    is_terminal: np.ndarray
    is_end: np.ndarray


@dataclasses.dataclass
class _Episode:
    """The episode that an environment is in: its number, and what was done and gained since its reset."""

    number: int = 0
    actions: list[int] = dataclasses.field(default_factory=list)
    total: float = 0.0


class SeededEnvironments:
    """Environments whose episodes begin with seeds of their own, so that any state can be reached again.

    Episode k of environment i is reset with a seed made of (seed, i, k, stream). The state is therefore the
    number of the episode and the actions since its reset: a checkpoint holds these, and `restore` repeats
    them. That takes as many steps as the episodes are old.

    Args:
        environment: A name that Gymnasium knows, such as `"CartPole-v1"`, or a function that returns a new
            environment with `reset(seed=)`, `step(action)`, `action_space.n` and `observation_space.shape`.
        num_envs: How many, at least 1.
        seed: At least 0.
        stream: At least 0; episodes of another stream begin with other seeds.

    Attributes:
        observations: (n, size) float32: the states in which the next actions are chosen, flattened.
        finished: Return and length of each episode that ended since `take_finished`.

    Raises:
        ConfigError: actions are not a finite set, or observations are not arrays of one shape.
        ImportError: a name is given, and Gymnasium is not installed.

    Example:

    ```python
    import types

    import numpy as np
    from highnoon.alignment.environments import SeededEnvironments

    class Coin:
        action_space = types.SimpleNamespace(n=2)
        observation_space = types.SimpleNamespace(shape=(1,))

        def reset(self, seed=None):
            self.side = seed % 2
            return np.zeros(1), {}

        def step(self, action):
            return np.zeros(1), float(action == self.side), True, False, {}

    coins = SeededEnvironments(Coin, num_envs=3, seed=0)
    assert coins.step(np.array([0, 1, 1])).is_end.all()
    ```
    """

    def __init__(
        self, environment: str | Callable[[], Any], num_envs: int, seed: int, stream: int = 0
    ) -> None:
        self.num_envs = require_count("num_envs", num_envs)
        self.seed = require_count("seed", seed, least=0)
        self.stream = require_count("stream", stream, least=0)
        self._environment = environment
        make = _maker(environment)
        self._environments = [make() for _ in range(num_envs)]
        self.num_actions, self.observation_size = _sizes(self._environments[0])
        self.finished: list[tuple[float, int]] = []
        self._episodes = [_Episode() for _ in range(num_envs)]
        self.observations = np.zeros((num_envs, self.observation_size), np.float32)
        for index in range(num_envs):
            self._reset(index)

    def step(self, actions: Sequence[int] | np.ndarray) -> EnvironmentSteps:
        """Takes one action in each environment; those whose episode ends are reset at once.

        Args:
            actions: (n,) integers.
        """
        found = [self._step(index, int(action)) for index, action in enumerate(actions)]
        rewards, finals, terminal, ends = (np.array(values) for values in zip(*found, strict=True))
        return EnvironmentSteps(rewards, finals, terminal, ends)

    def take_finished(self) -> list[tuple[float, int]]:
        """Returns return and length of the episodes that ended since the last call, in the order of steps."""
        taken, self.finished = self.finished, []
        return taken

    def others(self, num_envs: int, seed: int) -> SeededEnvironments:
        """Returns new environments of the same kind, whose episodes are not those of these, for any seed.

        Args:
            num_envs: How many.
            seed: At least 0.
        """
        return SeededEnvironments(self._environment, num_envs, seed, self.stream + 1)

    def capture(self) -> list[dict[str, Any]]:
        """Returns the state of each environment as JSON values."""
        return [
            {"episode": each.number, "actions": list(each.actions), "observation": observation.tolist()}
            for each, observation in zip(self._episodes, self.observations, strict=True)
        ]

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Brings all environments to captured states, by repeating the actions since their resets.

        Raises:
            CheckpointError: there are states of another number of environments, or an environment is not a
                function of its seed and actions.
        """
        if len(states) != self.num_envs:
            raise CheckpointError(
                f"the checkpoint has the states of {len(states)} environments; received num_envs="
                f"{self.num_envs}; resume with as many as before"
            )
        self.finished = []
        for index, state in enumerate(states):
            self._episodes[index] = _Episode(int(state["episode"]))
            self._reset(index)
            for action in state["actions"]:
                self._step(index, int(action))
            expected = np.asarray(state["observation"], np.float32)
            is_same = self._episodes[index].number == state["episode"]
            if not is_same or not np.array_equal(self.observations[index], expected):
                raise CheckpointError(
                    f"environment {index} must be a function of its seed and actions; repeating "
                    f"{len(state['actions'])} actions led to another state; seed all of its randomness in "
                    "`reset(seed=)`, or begin a new run"
                )

    def close(self) -> None:
        """Closes the environments that can be closed."""
        for environment in self._environments:
            if hasattr(environment, "close"):
                environment.close()

    def _step(self, index: int, action: int) -> tuple[float, np.ndarray, bool, bool]:
        episode = self._episodes[index]
        observation, reward, is_terminal, is_cut, _ = self._environments[index].step(action)
        episode.actions.append(action)
        episode.total += float(reward)
        final = self._flat(observation)
        is_end = bool(is_terminal or is_cut)
        self.observations[index] = final
        if is_end:
            self.finished.append((episode.total, len(episode.actions)))
            self._episodes[index] = _Episode(episode.number + 1)
            self._reset(index)
        return float(reward), final, bool(is_terminal), is_end

    def _reset(self, index: int) -> None:
        key = [self.seed, index, self._episodes[index].number, self.stream]
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        observation, _ = self._environments[index].reset(seed=seed)
        self.observations[index] = self._flat(observation)

    def _flat(self, observation: Any) -> np.ndarray:
        # A copy: environments may write their next observation into the same array.
        return np.array(observation, np.float32).reshape(-1)


def _maker(environment: str | Callable[[], Any]) -> Callable[[], Any]:
    if callable(environment):
        return environment
    if not isinstance(environment, str):
        raise ConfigError(
            f"`environment` must be a name or a function that returns one; received {shown(environment)}"
        )
    try:
        import gymnasium
    except ImportError:
        raise ImportError(
            f"the environment `{environment}` needs `gymnasium`, which is not installed; install it with "
            "pip install 'highnoon[rl]'"
        ) from None
    try:
        gymnasium.spec(environment)
    except gymnasium.error.Error as error:
        raise ConfigError(f"there is no environment `{environment}`: {error}") from None
    return lambda: gymnasium.make(environment)


def _sizes(environment: Any) -> tuple[int, int]:
    """Returns the number of actions and of numbers in an observation."""
    actions, observations = environment.action_space, environment.observation_space
    if not hasattr(actions, "n"):
        raise ConfigError(f"actions must be a finite set (Discrete); received {shown(actions)}")
    if getattr(actions, "start", 0) != 0:
        raise ConfigError(f"actions must count from 0; received {shown(actions)}")
    if getattr(observations, "shape", None) is None:
        raise ConfigError(f"observations must be arrays of one shape (Box); received {shown(observations)}")
    return int(actions.n), int(np.prod(observations.shape, dtype=int))
