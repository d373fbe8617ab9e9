"""Learning from rewards of completions: what is sampled, what counts, and exact resuming."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.alignment import PolicyGradient, PolicyWithValues, RolloutTrainer
from highnoon.alignment.policy_gradient import Rewards, sample_rollout
from highnoon.config import ConfigError
from highnoon.files.step_folders import CheckpointError
from highnoon.tokenization import BytePairTokenizer, ByteTokenizer

PROMPTS = [f"{left}+{right}=" for left in range(2) for right in range(3)]
TOKENS = 4
STEPS = 2  # minibatches of an iteration


def make_policy(seed=0, **fields):
    keras.utils.set_random_seed(seed)
    tokenizer = ByteTokenizer()
    shape = {
        "vocab_size": tokenizer.vocab_size,
        "embedding_dim": 16,
        "num_reasoning_blocks": 1,
        "num_heads": 2,
    }
    shape |= {"block_pattern": "attention+mlp", "ffn_dim": 16, "max_seq_length": 16, **fields}
    policy = hn.LanguageModel(**shape)
    policy.tokenizer = tokenizer
    return policy


def is_low(texts):
    """The fraction of a completion's characters below `a`."""
    completions = [text.split("=", 1)[1] for text in texts]
    return [np.mean([character < "a" for character in each]) if each else 0.0 for each in completions]


SETTINGS = {
    "num_iterations": 12,
    "prompts_per_iteration": 4,
    "group_size": 8,
    "max_new_tokens": TOKENS,
    "minibatch_size": 16,
    "learning_rate": 3e-2,
    "seed": 3,
}


def trainer_of(objective=None, model=None, **options):
    objective = objective or PolicyGradient("dr_grpo", constant_length=TOKENS)
    return RolloutTrainer(model or make_policy(), PROMPTS, is_low, objective, **{**SETTINGS, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run, its folder and the metrics of its iterations."""
    folder, seen = tmp_path_factory.mktemp("whole"), []
    trainer = trainer_of()
    trainer.train(folder, callback=seen.append)
    return trainer, seen, folder


@pytest.fixture(scope="module")
def policy():
    return make_policy(seed=1)


def test_completions_are_the_decoders_and_count_up_to_the_end_token(policy):
    rollout = sample_rollout(policy, policy.tokenizer, PROMPTS[:3], 2, TOKENS, 12, seed=5)
    again = sample_rollout(policy, policy.tokenizer, PROMPTS[:3], 2, TOKENS, 12, seed=5)
    assert rollout.rows == again.rows and rollout.groups.tolist() == [0, 0, 1, 1, 2, 2]
    for index, row in enumerate(rollout.rows):
        first = rollout.num_prompt_ids[index] - 1
        labels = rollout.columns["labels"][index]
        assert labels[: len(row) - 1].tolist() == row[1:] and not labels[len(row) - 1 :].any()
        weights = rollout.columns["loss_weights"][index]
        assert weights.tolist() == [float(first <= place < len(row) - 1) for place in range(12)]
        assert rollout.has_end[index] == (row[-1] == policy.tokenizer.eos_token_id)


def test_the_end_token_is_sampled_and_ends_a_completion(policy):
    tokenizer = policy.tokenizer
    rollout = sample_rollout(policy, tokenizer, ["1+1="] * 40, 8, TOKENS, 12, seed=0)
    ended = np.flatnonzero(rollout.has_end)
    assert len(ended)
    for index in ended:
        place = int(np.flatnonzero(rollout.columns["loss_weights"][index])[-1])
        assert rollout.columns["labels"][index, place] == tokenizer.eos_token_id


@pytest.mark.slow
def test_rewards_rise_and_decoder_and_step_agree(whole):
    trainer, seen, _ = whole
    assert [each["step"] for each in seen] == [32 * number for number in range(1, 13)]
    assert max(each["policy/log_prob_difference"] for each in seen) < 1e-4
    assert seen[-1]["reward/mean"] > seen[0]["reward/mean"] + 0.2


@pytest.mark.slow
def test_a_run_killed_in_rollout_and_in_optimization_ends_with_the_same_bits(whole, tmp_path, monkeypatch):
    expected, metrics, _ = whole
    trainer, seen = trainer_of(), []

    class Killed(Exception):
        pass

    def kill_at_call(owner, name, call):
        before, calls = getattr(owner, name), []

        def counted(*args, **kwargs):
            calls.append(1)
            if len(calls) == call:
                raise Killed
            return before(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    kill_at_call(trainer, "sample", 3)
    with pytest.raises(Killed):
        trainer.train(tmp_path, checkpoint_interval=2)
    # What a kill left in memory must not matter.
    for weight in trainer.model.weights:
        weight.assign(weight + 1.0)
    kill_at_call(trainer.learner, "step", 2 * STEPS + 2)
    with pytest.raises(Killed):
        trainer.train(tmp_path, resume=True, checkpoint_interval=1)
    monkeypatch.undo()
    trainer.train(tmp_path, resume=True, callback=seen.append)
    assert [each["step"] for each in seen] == [each["step"] for each in metrics[4:]]
    assert [each["reward/mean"] for each in seen] == [each["reward/mean"] for each in metrics[4:]]
    for one, other in zip(expected.model.weights, trainer.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.slow
def test_with_values_and_a_reference_the_first_ratios_are_1():
    model, objective = PolicyWithValues(make_policy()), PolicyGradient("ppo", reference=make_policy())
    metrics = trainer_of(objective, model, num_iterations=1, minibatch_size=32).train()
    # One minibatch: the step sees the policy that sampled, which is still its reference.
    assert metrics["policy/ratio"] == 1.0
    assert metrics["policy/kl_reference"] == pytest.approx(0.0, abs=1e-6)


def test_log_probs_are_recomputed_for_the_rows_that_stay_and_the_learning_rate_falls_by_iterations(
    monkeypatch,
):
    recomputed, stepped, seen = [], [], []

    def rewards(texts):
        if not seen:  # the first prompt's group is constant
            return [float(index % 2 and index >= 4) for index in range(len(texts))]
        return [0.0] * len(texts) if len(seen) == 1 else [float(index % 2) for index in range(len(texts))]

    trainer = trainer_of(num_iterations=3, prompts_per_iteration=3, group_size=4, minibatch_size=4)
    trainer.rewards = Rewards(rewards)
    recompute, step = trainer._update._recompute, trainer.learner.step
    monkeypatch.setattr(
        trainer._update, "_recompute", lambda rows: recomputed.append(rows["labels"]) or recompute(rows)
    )
    monkeypatch.setattr(
        trainer.learner, "step", lambda batch, *args: stepped.append(batch["labels"]) or step(batch, *args)
    )
    trainer.train(callback=seen.append)
    assert [each["reward/constant_fraction"] for each in seen] == pytest.approx([1 / 3, 1, 0])
    # So each micro-batch of the first epoch is one of those whose log-probabilities were recomputed. The
    # rollout's difference from the decoder is of all rows.
    of_updates = recomputed[1:2] + recomputed[4:]
    assert [len(rows) for rows in of_updates] == [8, 12]
    np.testing.assert_array_equal(np.concatenate(of_updates), np.concatenate(stepped))
    rates = [each["train/learning_rate"] for each in seen if "train/learning_rate" in each]
    np.testing.assert_allclose(rates, [3e-2, 1e-2], rtol=1e-6)


def test_with_the_divergence_in_the_reward_rows_that_are_dropped_later_are_recomputed():
    objective = PolicyGradient("rloo", reference=make_policy(), skip_constant_groups=True)
    trainer = trainer_of(objective, num_iterations=1, prompts_per_iteration=2, group_size=4, minibatch_size=8)
    trainer.rewards = lambda texts: np.arange(8.0) * (np.arange(8) < 4)  # at the reference all costs are 0
    metrics = trainer.train()
    assert metrics["reward/constant_fraction"] == 0.5 and metrics["policy/ratio"] == pytest.approx(
        1.0, rel=1e-6
    )


def test_a_divergence_above_target_kl_ends_an_iteration(monkeypatch):
    objective = PolicyGradient("dr_grpo", constant_length=TOKENS)
    trainer = trainer_of(
        objective, num_iterations=1, epochs_per_iteration=3, minibatch_size=16, target_kl=1e-9
    )
    step, taken = trainer.learner.step, []
    monkeypatch.setattr(trainer.learner, "step", lambda *args: taken.append(1) or step(*args))
    assert trainer.train()["policy/kl_step"] > 0
    assert len(taken) == 2  # the first update sees the policy that sampled, the second another one


@pytest.mark.slow
def test_a_checkpoint_with_values_is_loaded_and_resumed(tmp_path):
    def make():
        keras.utils.set_random_seed(0)
        objective = PolicyGradient("ppo", reference=make_policy())
        return trainer_of(objective, PolicyWithValues(make_policy()), num_iterations=2, minibatch_size=32)

    expected, resumed = make(), make()
    expected.train()

    class Killed(Exception):
        pass

    def kill(metrics):
        if metrics["step"] == 64:
            raise Killed

    with pytest.raises(Killed):
        make().train(tmp_path, checkpoint_interval=1, callback=kill)
    assert isinstance(hn.load_model(tmp_path), PolicyWithValues)
    resumed.train(tmp_path, resume=True)
    loaded = hn.load_model(tmp_path / "checkpoints" / "step_00000064")
    assert loaded.tokenizer.fingerprint() == ByteTokenizer().fingerprint()
    weights = zip(expected.model.weights, resumed.model.weights, loaded.weights, strict=True)
    for one, two, three in weights:
        np.testing.assert_array_equal(one.numpy(), two.numpy())
        np.testing.assert_array_equal(one.numpy(), three.numpy())
    hn.save_model(loaded, tmp_path / "saved")
    assert hn.load_model(tmp_path / "saved").tokenizer is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"micro_batch_size": 8}, "micro_batch_size=16; received 8"),
        ({"target_kl": 0.1}, "target_kl=None; received 0.1"),
    ],
)
def test_a_run_is_resumed_with_the_arguments_that_it_began_with(whole, options, message):
    folder = whole[2]
    with pytest.raises(CheckpointError, match=message):
        trainer_of(**options).train(folder, resume=True)


@pytest.mark.slow
def test_a_run_is_resumed_with_its_prompts_and_its_weights_of_rewards(whole, policy):
    settings = {**SETTINGS}
    objective = PolicyGradient("dr_grpo", constant_length=TOKENS)
    with pytest.raises(CheckpointError, match="with prompts_hash="):
        RolloutTrainer(policy, PROMPTS[::-1], is_low, objective, **settings).train(whole[2], resume=True)
    with pytest.raises(CheckpointError, match="with rewards="):
        RolloutTrainer(policy, PROMPTS, {is_low: 2.0}, objective, **settings).train(whole[2], resume=True)


def test_several_rewards_are_a_weighted_sum():
    rewards = Rewards({is_low: 2.0, lambda texts: [len(text) for text in texts]: 0.5})
    np.testing.assert_allclose(rewards(["=aA", "=AA"]), [1.0 + 1.5, 2.0 + 1.5])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda texts: [1.0], "must return 2 numbers, one for each text; received 1"),
        (lambda texts: [0.0, float("nan")], "must return finite numbers; received nan for text 1"),
        (lambda texts: ["good", "bad"], "must return 2 numbers; received"),
    ],
)
def test_bad_rewards_are_errors_of_one_line(function, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Rewards(function)(["a", "b"])
    assert "\n" not in str(caught.value)


def test_policies_that_do_not_fit_are_errors_of_one_line():
    policy = make_policy()
    with pytest.raises(ConfigError, match="must be another model than the policy"):
        trainer_of(PolicyGradient("grpo", reference=policy), policy)
    with pytest.raises(ConfigError, match="must have dropout=0, .* received 0.1"):
        trainer_of(model=make_policy(dropout=0.1))
    with pytest.raises(ConfigError, match="must have the vocabulary of the policy, 263 ids; .* of 300"):
        trainer_of(PolicyGradient("grpo", reference=make_policy(vocab_size=300)))
    other = make_policy(vocab_size=264)
    other.tokenizer = BytePairTokenizer(264).train_from_texts(["abab abab"], 264, 1)
    with pytest.raises(ConfigError, match="`reference` must have the tokenizer of the run"):
        trainer_of(PolicyGradient("grpo", reference=other))
    with pytest.raises(ConfigError, match="`group_size` must be at least 2; received 1"):
        trainer_of(group_size=1)
