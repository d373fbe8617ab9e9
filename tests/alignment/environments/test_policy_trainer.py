"""Policies on environments: a known value function, exact resuming, and errors."""

from __future__ import annotations

import json
import shutil
import types

import numpy as np
import pytest

import highnoon as hn
from highnoon.alignment.environments import (
    ActionPolicyGradient,
    ActorCritic,
    PolicyTrainer,
    SeededEnvironments,
    plot_returns,
)
from highnoon.alignment.environments.collect_steps import collect_steps
from highnoon.alignment.policy_gradient.policy_checkpoints import PolicyCheckpoints
from highnoon.config import ConfigError
from highnoon.files.step_folders import CheckpointError
from highnoon.monitoring import read_metrics
from highnoon.training.objective import objective_from_config

DISCOUNT = 0.8


class Alternating:
    """Two states that follow one another; the first one pays 1. No action changes anything.

    V(first) = 1 / (1 - discount^2), V(second) = discount V(first). An episode is cut after 16 steps
    and has no end, so that value follows it.
    """

    action_space = types.SimpleNamespace(n=2)
    observation_space = types.SimpleNamespace(shape=(2,))

    def reset(self, seed=None):
        self.place, self.age = seed % 2, 0
        return np.eye(2)[self.place], {}

    def step(self, action):
        reward = 1.0 - self.place
        self.place, self.age = 1 - self.place, self.age + 1
        return np.eye(2)[self.place], reward, False, self.age == 16, {}


class Guessing:
    """Each episode shows a random side, and pays 1 for the action of that name; it has 3 steps."""

    action_space = types.SimpleNamespace(n=2)
    observation_space = types.SimpleNamespace(shape=(2,))

    def reset(self, seed=None):
        self.random, self.age = np.random.default_rng(seed), 0
        return self._show(), {}

    def step(self, action):
        reward, self.age = float(action == self.side), self.age + 1
        return self._show(), reward, self.age == 3, False, {}

    def _show(self):
        self.side = int(self.random.integers(2))
        return np.eye(2)[self.side] + self.random.normal(size=2) * 0.1


SMALL = {
    "hidden_dim": 16,
    "num_envs": 4,
    "steps_per_iteration": 16,
    "minibatch_size": 32,
    "epochs_per_iteration": 2,
    "seed": 5,
}


def weights_of(trainer):
    return [np.array(weight.numpy()) for weight in trainer.model.weights]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of seven iterations: its folder, its trainer and its result."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = PolicyTrainer(Guessing, **SMALL, total_timesteps=64 * 7)
    return folder, trainer, trainer.train(folder, checkpoint_interval=3)


def test_the_value_function_of_two_states_is_the_known_one():
    trainer = PolicyTrainer(
        Alternating,
        **{**SMALL, "epochs_per_iteration": 4, "minibatch_size": 64},
        total_timesteps=64 * 50,
        learning_rate=2e-2,
        discount=DISCOUNT,
        value_clip=None,
        gradient_clip=None,
    )
    trainer.train()
    _, values = trainer.model(np.eye(2, dtype="float32"))
    first = 1.0 / (1.0 - DISCOUNT**2)
    np.testing.assert_allclose(values.numpy(), [first, DISCOUNT * first], atol=1e-3)


def test_a_policy_learns_and_its_first_ratios_are_exactly_1():
    figures = []
    trainer = PolicyTrainer(
        Guessing,
        **{**SMALL, "epochs_per_iteration": 1, "minibatch_size": 64},
        total_timesteps=64 * 60,
        learning_rate=1e-2,
    )
    result = trainer.train(callback=figures.append)
    # With one minibatch each ratio is that of the policy that acted.
    assert all(each["policy/ratio"] == 1 and each["policy/kl_step"] == 0 for each in figures)
    assert max(each["policy/log_prob_difference"] for each in figures) < 1e-5
    assert result.num_steps == 64 * 60 and result.returns[0][1] < 2.2
    assert np.mean(trainer.evaluate(20)) > 2.7


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(whole, tmp_path):
    folder, uninterrupted, expected = whole
    options = {**SMALL, "total_timesteps": 64 * 7}

    class Killed(Exception):
        pass

    def kill(metrics):
        if metrics["step"] == 64 * 5:
            raise Killed

    with pytest.raises(Killed):
        PolicyTrainer(Guessing, **options).train(tmp_path, checkpoint_interval=2, callback=kill)
    resumed, seen = PolicyTrainer(Guessing, **options), []
    found = resumed.train(tmp_path, resume=True, callback=seen.append)
    assert seen[0]["step"] == 64 * 5  # the checkpoint was written after the fourth iteration
    for one, other in zip(weights_of(uninterrupted), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found == expected
    losses = [
        [
            (line["step"], line["train/loss"])
            for line in read_metrics(each / "metrics.jsonl")
            if line["event"] == "log"
        ]
        for each in (folder, tmp_path)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 7


def test_the_network_of_a_checkpoint_is_loaded_by_its_path(whole):
    folder, trainer, _ = whole
    network, states = hn.load_model(folder / "checkpoints" / "step_00000448"), np.eye(2, dtype="float32")
    assert isinstance(network, ActorCritic)
    for one, other in zip(network(states), trainer.model(states), strict=True):
        np.testing.assert_array_equal(one, other)


def test_environments_return_to_a_captured_state_and_continue_alike():
    one, other = (SeededEnvironments(Guessing, 3, seed=2) for _ in range(2))
    generator = np.random.default_rng(0)
    for _ in range(7):
        one.step(generator.integers(0, 2, 3))
    other.restore(json.loads(json.dumps(one.capture())))
    for _ in range(9):
        actions = generator.integers(0, 2, 3)
        for left, right in zip(one.step(actions), other.step(actions), strict=True):
            np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(one.observations, other.observations)


def test_an_environment_that_its_seed_does_not_determine_is_refused():
    class Unseeded(Guessing):
        def reset(self, seed=None):
            return super().reset(seed=None)

    one, other = (SeededEnvironments(Unseeded, 1, seed=2) for _ in range(2))
    one.step([0])
    with pytest.raises(CheckpointError, match="environment 0 must be a function of its seed and actions"):
        other.restore(one.capture())


def test_actions_are_drawn_with_the_probabilities_of_the_policy():
    environments = SeededEnvironments(Alternating, 8, seed=0)
    logits = np.log([[0.2, 0.8]]) + 3.0
    steps = collect_steps(
        environments, lambda seen: np.repeat(logits, len(seen), 0), 2000, np.random.default_rng(0)
    )
    assert steps.actions.mean() == pytest.approx(0.8, abs=0.01)
    np.testing.assert_allclose(steps.log_probs, np.log([0.2, 0.8])[steps.actions], atol=1e-12)


def test_a_run_is_neither_overwritten_nor_resumed_with_other_arguments(whole):
    folder, options = whole[0], {**SMALL, "total_timesteps": 64 * 7}
    with pytest.raises(CheckpointError, match="has the checkpoints of a run; continue it with resume=True"):
        PolicyTrainer(Guessing, **options).train(folder)
    with pytest.raises(CheckpointError, match="with seed=5; received 6"):
        PolicyTrainer(Guessing, **{**options, "seed": 6}).train(folder, resume=True)


def test_a_damaged_checkpoint_is_skipped_with_a_warning(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step_00000448" / "state.json").write_text("{}")
    trainer = PolicyTrainer(Guessing, **SMALL, total_timesteps=64 * 7)
    with pytest.warns(UserWarning, match="step_00000448 is damaged"):
        trainer._restore(PolicyCheckpoints(tmp_path / "run" / "checkpoints"))
    assert trainer.iteration == 6


def test_returns_are_plotted(whole, tmp_path):
    plot_returns(whole[0] / "metrics.jsonl", tmp_path / "returns.png")
    assert (tmp_path / "returns.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minibatch_size": 30}, "must divide the 64 steps of an iteration; received 30"),
        ({"preset": "dr_grpo"}, "`preset` must have advantage='gae'; received 'dr_grpo' with 'group'"),
        (
            {"reference": "model"},
            "`reference` is about completions or a reference, .* received reference='model'",
        ),
        ({"temperature": 2.0}, "`temperature` is about completions or a reference"),
        ({"kl": "k3"}, "`kl` is about completions or a reference"),
        ({"scale_rewards": True}, "give one of whiten, clip_low, clip_high, entropy_weight"),
        ({"discont": 0.9}, "no key `discont`; did you mean `discount`"),
        ({"environment": 7}, "must be a name or a function that returns one; received 7"),
    ],
)
def test_bad_arguments_are_errors_of_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        PolicyTrainer(**{"environment": Guessing, **SMALL, **options})


def test_a_saved_description_of_the_objective_makes_it_again():
    objective = ActionPolicyGradient(2, clip_low=0.1, discount=0.9)
    # By name alone: the module that registers it need not be imported.
    again = objective_from_config({"name": "action_policy_gradient", **objective.get_config()})
    assert again.axes == objective.axes and again.get_config() == objective.get_config()


class Reusing(Guessing):
    """The same, with one array for all observations."""

    buffer = None

    def _show(self):
        seen = super()._show().astype("float32")
        if self.buffer is None:
            self.buffer = np.empty(2, "float32")
        self.buffer[:] = seen
        return self.buffer


def test_environments_that_reuse_their_observations_give_the_same_steps():
    one, other = (SeededEnvironments(each, 2, seed=4) for each in (Guessing, Reusing))
    for _ in range(6):  # each third step ends an episode, whose reset writes into the array
        for left, right in zip(one.step([0, 1]), other.step([0, 1]), strict=True):
            np.testing.assert_array_equal(left, right)


class Endless(Guessing):
    """The same without an end; counts how many were closed."""

    num_closed = 0

    def step(self, action):
        shown, reward, *_ = super().step(action)
        return shown, reward, False, False, {}

    def close(self):
        Endless.num_closed += 1


def test_evaluation_ends_and_closes_environments_whose_episodes_do_not_end():
    trainer = PolicyTrainer(Endless, **SMALL)
    with pytest.warns(UserWarning, match="3 of 3 episodes were ended after max_episode_steps=7"):
        returns = trainer.evaluate(3, max_episode_steps=7)
    assert len(returns) == 3 and Endless.num_closed == 3


def test_evaluation_closes_its_environments_after_an_error():
    class Failing(Endless):
        def step(self, action):
            raise RuntimeError("broken")

    before = Endless.num_closed
    with pytest.raises(RuntimeError, match="broken"):
        PolicyTrainer(Failing, **SMALL).evaluate(2)
    assert Endless.num_closed == before + 2


def test_no_episode_of_an_evaluation_is_one_of_training():
    trainer = PolicyTrainer(Guessing, **SMALL)
    shown = trainer.environments.observations
    evaluated = trainer.environments.others(SMALL["num_envs"], SMALL["seed"]).observations
    assert not np.any(shown == evaluated)


@pytest.mark.parametrize("target_kl", [None, 1e-9])
def test_the_learning_rate_falls_by_iterations_however_many_updates_they_take(target_kl):
    trainer = PolicyTrainer(Guessing, **SMALL, total_timesteps=64 * 4, learning_rate=0.1, target_kl=target_kl)
    seen = []
    trainer.train(callback=seen.append)
    np.testing.assert_allclose(
        [each["train/learning_rate"] for each in seen], [0.1, 0.075, 0.05, 0.025], rtol=1e-6
    )


def test_skipped_steps_are_those_of_the_run():
    class Infinite(Guessing):
        num_steps = 0

        def step(self, action):
            Infinite.num_steps += 1
            shown, _, *rest = super().step(action)
            return shown, float("nan") if Infinite.num_steps <= 64 else 1.0, *rest

    seen = []
    PolicyTrainer(Infinite, **{**SMALL, "epochs_per_iteration": 1}, total_timesteps=64 * 2).train(
        callback=seen.append
    )
    # Both updates of the first iteration have advantages that are no numbers, none of the second has.
    assert [each["train/skipped_steps"] for each in seen] == [2.0, 2.0]


def test_actions_must_be_a_finite_set():
    class Continuous(Guessing):
        action_space = types.SimpleNamespace(shape=(2,))

    with pytest.raises(ConfigError, match=r"actions must be a finite set \(Discrete\)"):
        SeededEnvironments(Continuous, 1, seed=0)


def test_without_gymnasium_a_name_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"needs `gymnasium`.*pip install 'highnoon\[rl\]'"):
        SeededEnvironments("CartPole-v1", 1, seed=0)


def test_environments_of_gymnasium_are_made_by_name():
    pytest.importorskip("gymnasium")
    environments = SeededEnvironments("CartPole-v1", 2, seed=0)
    assert environments.num_actions == 2 and environments.observations.shape == (2, 4)
    with pytest.raises(ConfigError, match="there is no environment `CartPoole-v1`"):
        SeededEnvironments("CartPoole-v1", 1, seed=0)
