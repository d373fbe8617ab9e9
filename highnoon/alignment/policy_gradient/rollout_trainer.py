"""Trains a language model on rewards of its own completions."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from highnoon.alignment.policy_gradient.policy_checkpoints import PolicyCheckpoints
from highnoon.alignment.policy_gradient.policy_gradient import PolicyGradient
from highnoon.alignment.policy_gradient.policy_log import PolicyLog
from highnoon.alignment.policy_gradient.rewards import RewardFunction, Rewards
from highnoon.alignment.policy_gradient.rollout_update import RolloutUpdate
from highnoon.alignment.policy_gradient.rollouts import Rollout, encode_prompt, sample_rollout
from highnoon.config import ConfigError, TrainingConfig, require_count, require_number, require_texts
from highnoon.files.expand_home import expand_home
from highnoon.files.step_folders import FINAL, LATEST
from highnoon.training.learner import Learner
from highnoon.training.steps.run_schedule import RunSchedule


class RolloutTrainer:
    """Samples completions, scores them, and takes steps of a `PolicyGradient`, iteration by iteration.

    An iteration is a function of the weights, the seed and its number: it draws prompts, samples
    `group_size` completions of each with the compiled decoder at the current weights, computes their rewards,
    recomputes their log-probabilities as the training step does, and takes epochs of minibatches over them. A
    checkpoint is written between iterations, so a run that was killed while it sampled or took steps, and was
    resumed, ends with the same bits as one that was not.

    Reports `reward/mean`, `reward/std`, `reward/constant_fraction` (completions in groups whose rewards are
    all equal), `completion/length`, `completion/length_ratio`, `completion/end_fraction`, the objective's
    metrics, and `policy/log_prob_difference`: the largest difference between the log-probabilities of the
    decoder and those of the training step, at temperature 1.

    Args:
        model: A `LanguageModel` without dropout, or a `PolicyWithValues`; training changes it.
        prompts: Texts.
        rewards: A function from texts (each a prompt with its completion) to numbers, or a mapping of
            functions to weights.
        objective: A `PolicyGradient`; its reference must be another model.
        tokenizer: None takes the model's.
        num_iterations: Iterations of the run.
        prompts_per_iteration: Prompts that are drawn for an iteration, at most all.
        group_size: Completions of each prompt.
        max_new_tokens: Longest completion.
        epochs_per_iteration: Epochs over the completions of an iteration.
        minibatch_size: Completions of one update.
        micro_batch_size: Completions of one forward and backward pass, a divisor of `minibatch_size`; None
            takes all of them.
        learning_rate: The first one; it falls linearly to zero, from iteration to iteration.
        gradient_clip: Largest global norm of a gradient; None does not clip.
        target_kl: An iteration ends after an update that sees a larger `policy/kl_step`, in nats a token;
            None never stops early.
        seed: Of the prompts, the completions and the order of minibatches.

    Attributes:
        iteration: Iterations that were completed.

    Raises:
        ConfigError: an argument is out of its range, or the model does not fit.

    Example:

    ```python
    import highnoon as hn
    from highnoon.alignment import PolicyGradient, RolloutTrainer
    from highnoon.tokenization import ByteTokenizer

    policy = hn.create_model("highnoon-nano", num_reasoning_blocks=1, vocab_size=263)
    policy.tokenizer = ByteTokenizer()

    def is_short(texts):
        return [float(len(text) < 12) for text in texts]

    objective = PolicyGradient("dr_grpo", constant_length=8)
    trainer = RolloutTrainer(
        policy, ["2+2=", "3+1="], is_short, objective, prompts_per_iteration=2, max_new_tokens=8
    )
    assert trainer.num_completions == 0  # `trainer.train("run")` samples and learns
    ```
    """

    def __init__(
        self,
        model: keras.Model,
        prompts: Sequence[str],
        rewards: RewardFunction | Mapping[RewardFunction, float],
        objective: PolicyGradient,
        *,
        tokenizer: Any = None,
        num_iterations: int = 100,
        prompts_per_iteration: int = 16,
        group_size: int = 8,
        max_new_tokens: int = 32,
        epochs_per_iteration: int = 1,
        minibatch_size: int = 64,
        micro_batch_size: int | None = None,
        learning_rate: float = 1e-5,
        gradient_clip: float | None = 1.0,
        target_kl: float | None = None,
        seed: int = 42,
    ) -> None:
        self.model, self.objective, self.seed = model, objective, require_count("seed", seed, least=0)
        self.policy = getattr(model, "policy", model)
        self.tokenizer = self._tokenizer_of(tokenizer)
        self.prompts, self.rewards = require_texts("prompts", prompts), Rewards(rewards)
        self.num_iterations = require_count("num_iterations", num_iterations)
        self.prompts_per_iteration = require_count(
            "prompts_per_iteration", prompts_per_iteration, most=len(self.prompts)
        )
        self.group_size = require_count("group_size", group_size, least=2 if objective.axes.has_groups else 1)
        self.max_new_tokens = require_count("max_new_tokens", max_new_tokens)
        micro = (
            require_count("minibatch_size", minibatch_size) if micro_batch_size is None else micro_batch_size
        )
        if minibatch_size % require_count("micro_batch_size", micro):
            raise ConfigError(
                f"`micro_batch_size` must divide minibatch_size={minibatch_size}; received {micro}"
            )
        self._require_policy()
        longest = max(len(encode_prompt(self.tokenizer, prompt)) for prompt in self.prompts)
        self._row_length = longest + max_new_tokens - 1
        config = TrainingConfig(
            learning_rate=learning_rate,
            batch_size=micro,
            gradient_clip=gradient_clip,
            weight_decay=0.0,
            adam_epsilon=1e-5,
            seed=seed,
        )
        require_count("epochs_per_iteration", epochs_per_iteration)
        if target_kl is not None:
            require_number("target_kl", target_kl, above=0)
        self._schedule = RunSchedule([learning_rate], [num_iterations], 0, "linear", min_ratio=0.0)
        self.learner = Learner(model, config, self._schedule, objectives=[objective])
        self._update = RolloutUpdate(
            self.learner, objective, minibatch_size, epochs_per_iteration, target_kl, seed
        )
        self.iteration = 0
        self._first_length: float | None = None
        self._description = {
            "prompts_hash": hashlib.blake2b(json.dumps(self.prompts).encode(), digest_size=16).hexdigest(),
            "tokenizer": self.tokenizer.fingerprint(),
            "rewards": self.rewards.describe(),
            "num_iterations": num_iterations,
            "prompts_per_iteration": prompts_per_iteration,
            "group_size": group_size,
            "max_new_tokens": max_new_tokens,
            "epochs_per_iteration": epochs_per_iteration,
            "minibatch_size": minibatch_size,
            "micro_batch_size": micro,
            "target_kl": target_kl,
            "learning_rate": learning_rate,
            "gradient_clip": gradient_clip,
            "seed": seed,
            "objective": objective.get_config(),
        }

    def _tokenizer_of(self, tokenizer: Any) -> Any:
        found = getattr(self.policy, "tokenizer", None) if tokenizer is None else tokenizer
        if found is None:
            raise ConfigError("the model has no tokenizer; set `model.tokenizer` or give `tokenizer`")
        return found

    def _require_policy(self) -> None:
        dropout = getattr(getattr(self.policy, "config", None), "dropout", 0.0)
        if dropout:
            raise ConfigError(
                f"a policy must have dropout=0, so that it trains on what it sampled; received {dropout}; "
                "load it with dropout=0"
            )
        reference = self.objective.reference
        if reference is not None and reference.model in (self.model, self.policy):
            raise ConfigError(
                "`reference` must be another model than the policy, which changes; give a copy, such as "
                "hn.load_model(path)"
            )
        if reference is not None:
            reference.require_tokenizer(self.tokenizer)
            reference.require_vocabulary(getattr(self.policy, "vocab_size", None))

    @property
    def num_completions(self) -> int:
        """Completions that were sampled so far."""
        return self.iteration * self.prompts_per_iteration * self.group_size

    def train(
        self,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        resume: bool = False,
        checkpoint_interval: int = 10,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, float]:
        """Trains to the end of the run, and returns the metrics of its last iteration.

        Args:
            output_dir: Gets `metrics.jsonl` and `checkpoints/`; None writes nothing.
            resume: Whether to continue from the newest checkpoint in `output_dir`; with none there the run
                begins.
            checkpoint_interval: Iterations between checkpoints; one is written at the end too.
            callback: Called with the metrics of each iteration.

        Raises:
            CheckpointError: a checkpoint belongs to another run, or `output_dir` has one and `resume` is
                False.
            ConfigError: a reward function returned something else than finite numbers. The checkpoints of
                earlier iterations stay.
        """
        require_count("checkpoint_interval", checkpoint_interval)
        folder = None if output_dir is None else expand_home(output_dir)
        checkpoints = None if folder is None else PolicyCheckpoints(folder / "checkpoints")
        if checkpoints is not None and checkpoints.is_resumed(resume):
            self._restore(checkpoints)
        log, metrics = PolicyLog(folder, self.num_completions, callback), {}
        while self.iteration < self.num_iterations and not log.is_stopped:
            metrics = self._iterate()
            log.write(self.num_completions, metrics)
            is_last = self.iteration == self.num_iterations or log.is_stopped
            if checkpoints is not None and (is_last or self.iteration % checkpoint_interval == 0):
                state = {
                    "description": self._description,
                    "iteration": self.iteration,
                    "first_length": self._first_length,
                }
                role = FINAL if is_last else LATEST
                checkpoints.save(self.learner, self.num_completions, state, role, self.tokenizer)
        return metrics

    def sample(self, prompts: Sequence[str], group_size: int = 1, seed: int = 0) -> Rollout:
        """Samples completions of prompts at the current weights, as the iterations do.

        Args:
            prompts: Texts.
            group_size: Completions of each.
            seed: Of the draws.
        """
        return sample_rollout(
            self.policy,
            self.tokenizer,
            prompts,
            group_size,
            self.max_new_tokens,
            self._row_length,
            self.objective.temperature,
            seed,
        )

    def _iterate(self) -> dict[str, float]:
        # The optimizer's steps do not move the schedule: dropped groups make their number unknown.
        self._schedule.align(step=0, position=self.iteration, pace=0.0)
        generator = np.random.default_rng([self.seed, self.iteration, 0])
        chosen = generator.choice(len(self.prompts), self.prompts_per_iteration, replace=False)
        prompts = [self.prompts[index] for index in chosen]
        rollout = self.sample(prompts, self.group_size, int(generator.integers(2**31)))
        rewards = self.rewards(rollout.texts)
        length = float(np.mean(rollout.lengths))
        if self._first_length is None:
            self._first_length = max(length, 1.0)
        metrics = {
            "reward/mean": float(np.mean(rewards)),
            "reward/std": float(np.std(rewards)),
            "completion/length": length,
            "completion/length_ratio": length / self._first_length,
            "completion/end_fraction": float(np.mean(rollout.has_end)),
        }
        if self.objective.temperature == 1.0:
            metrics["policy/log_prob_difference"] = self._update.difference(rollout, self.policy)
        metrics |= self._update(rollout, rewards, self.iteration)
        self.iteration += 1
        return metrics

    def _restore(self, checkpoints: PolicyCheckpoints) -> None:
        folder = checkpoints.newest()
        state = checkpoints.read(folder, self._description)
        self.learner.restore(folder)
        self.iteration = int(state["iteration"])
        self._first_length = state["first_length"]
