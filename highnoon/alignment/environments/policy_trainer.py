"""Trains a small policy on environments."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from highnoon.alignment.environments.action_policy_gradient import ActionPolicyGradient
from highnoon.alignment.environments.actor_critic import ActorCritic
from highnoon.alignment.environments.collect_steps import collect_steps
from highnoon.alignment.environments.policy_update import PolicyUpdate
from highnoon.alignment.environments.seeded_environments import SeededEnvironments
from highnoon.alignment.policy_gradient.policy_checkpoints import PolicyCheckpoints
from highnoon.alignment.policy_gradient.policy_log import PolicyLog
from highnoon.config import ConfigError, TrainingConfig, require_count, require_flag, require_number
from highnoon.files.expand_home import expand_home
from highnoon.files.step_folders import FINAL, LATEST
from highnoon.layers.graph_function import graph_function
from highnoon.training.learner import Learner
from highnoon.training.steps.run_schedule import RunSchedule

ENVIRONMENT_AXES: Mapping[str, Any] = {
    "discount": 0.99,
    "entropy_weight": 0.01,
    "value_weight": 0.5,
}
"""What PPO on environments has in place of the preset's values: Huang et al. 2022, "The 37 Implementation
Details of Proximal Policy Optimization"."""


@dataclasses.dataclass(frozen=True)
class PolicyTrainingResult:
    """The end of a training.

    Args:
        num_steps: Steps that were taken in all environments together.
        returns: (steps, mean return) of each iteration in which an episode ended.
        is_stopped: Whether an alert ended it.
    """

    num_steps: int
    returns: list[tuple[int, float]]
    is_stopped: bool = False


class PolicyTrainer:
    """Proximal policy optimization of an `ActorCritic` on one or more environments.

    An iteration takes `steps_per_iteration` steps in each environment, computes generalized advantages and
    takes `epochs_per_iteration` epochs of shuffled minibatches. It is a function of the weights,
    the environments' states, the seed and its number. A checkpoint is written between iterations, so a run
    that was killed and resumed ends with the same bits as one that was not.

    Args:
        environment: A name that Gymnasium knows, or a function that returns a new environment.
        hidden_dim: Width of the network's hidden layers.
        total_timesteps: Steps in all environments together. Iterations that would exceed it are not begun; at
            least one is.
        learning_rate: The first one.
        num_envs: Environments that are stepped together.
        steps_per_iteration: Steps of each environment in an iteration.
        epochs_per_iteration: Epochs over the steps of an iteration.
        minibatch_size: Steps of one update; must divide those of an iteration.
        gradient_clip: Largest global norm of a gradient; None does not clip.
        anneal_learning_rate: Whether the learning rate falls linearly to zero, from iteration to iteration.
        target_kl: An iteration ends after an epoch with a larger divergence from the
            policy that acted; None never stops early.
        seed: Of the weights, the environments, the actions and the order of minibatches.
        preset: A preset of `PolicyGradientConfig` with `advantage="gae"`.
        **axes: Fields of `ActionPolicyGradient` in place of the preset's. Of environments, `discount` is
            0.99, `entropy_weight` 0.01 and `value_weight` 0.5 where they are not given.

    Attributes:
        model: The `ActorCritic`.
        objective: The `ActionPolicyGradient`.
        environments: The `SeededEnvironments`.

    Raises:
        ConfigError: an argument is out of its range, or the environment does not fit.
        ImportError: a name is given, and Gymnasium is not installed.

    Example:

    ```python
    import types

    import numpy as np
    from highnoon.alignment.environments import PolicyTrainer

    class Coin:
        action_space = types.SimpleNamespace(n=2)
        observation_space = types.SimpleNamespace(shape=(1,))

        def reset(self, seed=None):
            return np.zeros(1), {}

        def step(self, action):
            return np.zeros(1), float(action == 1), True, False, {}

    trainer = PolicyTrainer(Coin, hidden_dim=8, total_timesteps=1024)
    assert trainer.num_iterations == 2  # `trainer.train("run")` takes them
    ```

    Schulman et al. 2017 (arXiv:1707.06347), algorithm 1; Adam's epsilon is 1e-5, as in its code.
    """

    def __init__(
        self,
        environment: str | Callable[[], Any] = "CartPole-v1",
        *,
        hidden_dim: int = 256,
        total_timesteps: int = 10_000,
        learning_rate: float = 3e-4,
        num_envs: int = 4,
        steps_per_iteration: int = 128,
        epochs_per_iteration: int = 4,
        minibatch_size: int = 128,
        gradient_clip: float | None = 0.5,
        anneal_learning_rate: bool = True,
        target_kl: float | None = None,
        seed: int = 42,
        preset: str = "ppo",
        **axes: Any,
    ) -> None:
        per_iteration = require_count("num_envs", num_envs) * require_count(
            "steps_per_iteration", steps_per_iteration
        )
        if per_iteration % require_count("minibatch_size", minibatch_size):
            raise ConfigError(
                f"`minibatch_size` must divide the {per_iteration} steps of an iteration; received "
                f"{minibatch_size}; choose a divisor"
            )
        self.steps_per_iteration, self.seed = steps_per_iteration, seed
        self.num_iterations = max(1, require_count("total_timesteps", total_timesteps) // per_iteration)
        self._per_iteration = per_iteration
        require_count("epochs_per_iteration", epochs_per_iteration)
        require_flag("anneal_learning_rate", anneal_learning_rate)
        if target_kl is not None:
            require_number("target_kl", target_kl, above=0)
        self.environments = SeededEnvironments(environment, num_envs, seed)
        self.model = ActorCritic(
            self.environments.observation_size, self.environments.num_actions, hidden_dim, seed
        )
        self.objective = ActionPolicyGradient(
            self.environments.observation_size, preset, **{**ENVIRONMENT_AXES, **axes}
        )
        config = TrainingConfig(
            learning_rate=learning_rate,
            batch_size=minibatch_size,
            gradient_clip=gradient_clip,
            weight_decay=0.0,
            adam_epsilon=1e-5,
            seed=seed,
        )
        decay = "linear" if anneal_learning_rate else "constant"
        self._schedule = RunSchedule([learning_rate], [self.num_iterations], 0, decay, min_ratio=0.0)
        self.learner = Learner(self.model, config, self._schedule, objectives=[self.objective])
        self._update = PolicyUpdate(
            self.learner, self.objective, minibatch_size, epochs_per_iteration, target_kl, seed
        )
        self._logits = graph_function(lambda observations: self.model(observations)[0])
        self.iteration = 0
        self._returns: list[tuple[int, float]] = []
        name = environment if isinstance(environment, str) else environment.__qualname__
        self._description = {
            "environment": name,
            "hidden_dim": hidden_dim,
            "num_envs": num_envs,
            "steps_per_iteration": steps_per_iteration,
            "epochs_per_iteration": epochs_per_iteration,
            "minibatch_size": minibatch_size,
            "num_iterations": self.num_iterations,
            "learning_rate": learning_rate,
            "anneal_learning_rate": anneal_learning_rate,
            "gradient_clip": gradient_clip,
            "target_kl": target_kl,
            "seed": seed,
            "objective": self.objective.get_config(),
        }

    @property
    def num_steps(self) -> int:
        """Steps that were taken so far, in all environments together."""
        return self.iteration * self._per_iteration

    def train(
        self,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        resume: bool = False,
        checkpoint_interval: int = 10,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> PolicyTrainingResult:
        """Trains to the end of the run.

        Args:
            output_dir: Gets `metrics.jsonl` and `checkpoints/`; None writes nothing.
            resume: Whether to continue from the newest checkpoint in `output_dir`; with none there the run
                begins.
            checkpoint_interval: Iterations between checkpoints; one is written at the end too.
            callback: Called with the metrics of each iteration.

        Raises:
            CheckpointError: a checkpoint belongs to another run, or `output_dir` has one and `resume` is
                False.
        """
        require_count("checkpoint_interval", checkpoint_interval)
        folder = None if output_dir is None else expand_home(output_dir)
        checkpoints = None if folder is None else PolicyCheckpoints(folder / "checkpoints")
        if checkpoints is not None and checkpoints.is_resumed(resume):
            self._restore(checkpoints)
        log = PolicyLog(folder, self.num_steps, callback)
        while self.iteration < self.num_iterations and not log.is_stopped:
            metrics = self._iterate()
            if "environment/return" in metrics:
                self._returns.append((self.num_steps, metrics["environment/return"]))
            log.write(self.num_steps, metrics)
            is_last = self.iteration == self.num_iterations or log.is_stopped
            if checkpoints is not None and (is_last or self.iteration % checkpoint_interval == 0):
                checkpoints.save(self.learner, self.num_steps, self._state(), FINAL if is_last else LATEST)
        return PolicyTrainingResult(self.num_steps, list(self._returns), log.is_stopped)

    def evaluate(
        self,
        num_episodes: int = 10,
        seed: int = 0,
        *,
        is_greedy: bool = True,
        max_episode_steps: int = 10_000,
    ) -> list[float]:
        """Returns the returns of new episodes, in environments of their own.

        Args:
            num_episodes: At least 1.
            seed: Of the environments and of the drawn actions. No episode is one of training, for any seed.
            is_greedy: Whether the likeliest action is taken instead of a drawn one.
            max_episode_steps: An episode that is not over by then is ended with a warning; its return is that
                of these steps.
        """
        require_count("max_episode_steps", max_episode_steps)
        environments = self.environments.others(require_count("num_episodes", num_episodes), seed)
        generator = np.random.default_rng([seed, 2])
        totals, is_over = np.zeros(num_episodes), np.zeros(num_episodes, bool)
        try:
            for _ in range(max_episode_steps):
                logits = np.asarray(self._logits(environments.observations), np.float64)
                noise = 0.0 if is_greedy else generator.gumbel(size=logits.shape)
                answer = environments.step(np.argmax(logits + noise, axis=1))
                totals += np.where(is_over, 0.0, answer.rewards)
                is_over |= answer.is_end
                if is_over.all():
                    break
        finally:
            environments.close()
        if not is_over.all():
            warnings.warn(
                f"{np.sum(~is_over)} of {num_episodes} episodes were ended after max_episode_steps="
                f"{max_episode_steps}; their returns are of these steps; raise it to see more",
                stacklevel=2,
            )
        return [float(total) for total in totals]

    def _iterate(self) -> dict[str, float]:
        # The optimizer's steps do not move the schedule: `target_kl` makes their number unknown.
        self._schedule.align(step=0, position=self.iteration, pace=0.0)
        generator = np.random.default_rng([self.seed, self.iteration, 0])
        steps = collect_steps(self.environments, self._logits, self.steps_per_iteration, generator)
        finished = self.environments.take_finished()
        metrics = self._update(steps, self.iteration)
        self.iteration += 1
        if finished:
            totals, lengths = zip(*finished, strict=True)
            metrics["environment/return"] = float(np.mean(totals))
            metrics["environment/episode_length"] = float(np.mean(lengths))
        return {**metrics, "environment/episodes": float(len(finished))}

    def _state(self) -> dict[str, Any]:
        return {
            "description": self._description,
            "iteration": self.iteration,
            "returns": self._returns,
            "environments": self.environments.capture(),
        }

    def _restore(self, checkpoints: PolicyCheckpoints) -> None:
        folder = checkpoints.newest()
        state = checkpoints.read(folder, self._description)
        self.learner.restore(folder)
        self.environments.restore(state["environments"])
        self.iteration = int(state["iteration"])
        self._returns = [(int(step), float(value)) for step, value in state["returns"]]
