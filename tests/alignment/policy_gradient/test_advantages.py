"""Advantages: against naive sums, closed forms and NumPy; and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.alignment.policy_gradient import (
    assign_advantages,
    generalized_advantages,
    group_advantages,
    leave_one_out_advantages,
    policy_gradient_config,
    whiten,
)
from highnoon.config import ConfigError

RNG = np.random.default_rng(0)


def naive_generalized(rewards, values, next_values, is_terminal, is_end, discount, gae_lambda):
    """The double sum of equation 16: each later error of the same trajectory, with its own power."""
    rows, steps = rewards.shape
    advantages = np.zeros((rows, steps))
    for row in range(rows):
        for start in range(steps):
            for step in range(start, steps):
                future = 0.0 if is_terminal[row, step] else next_values[row, step]
                error = rewards[row, step] + discount * future - values[row, step]
                advantages[row, start] += (discount * gae_lambda) ** (step - start) * error
                if is_end[row, step]:
                    break
    return advantages


def test_generalized_advantages_are_the_double_sum():
    rewards, values, following = RNG.normal(size=(3, 5, 17))
    is_terminal = RNG.random((5, 17)) < 0.15
    is_end = is_terminal | (RNG.random((5, 17)) < 0.1)
    arguments = (rewards, values, following, is_terminal, is_end, 0.97, 0.9)
    np.testing.assert_allclose(generalized_advantages(*arguments), naive_generalized(*arguments), atol=1e-12)


def test_with_lambda_1_advantages_are_returns_minus_values():
    rewards, values = RNG.normal(size=(2, 4, 6))
    following = np.concatenate([values[:, 1:], np.zeros((4, 1))], axis=1)
    is_last = np.arange(6) == np.full((4, 1), 5)
    found = generalized_advantages(rewards, values, following, is_last, is_last, 1.0, 1.0)
    np.testing.assert_allclose(found + values, rewards[:, ::-1].cumsum(axis=1)[:, ::-1], atol=1e-12)


def test_a_cut_trajectory_bootstraps_and_a_terminal_one_does_not():
    one = np.ones((1, 1))
    cut = generalized_advantages(one, 2 * one, 5 * one, [[False]], [[True]], 0.9, 0.95)
    terminal = generalized_advantages(one, 2 * one, 5 * one, [[True]], [[True]], 0.9, 0.95)
    assert cut.item() == pytest.approx(1 + 0.9 * 5 - 2) and terminal.item() == -1


@pytest.mark.parametrize("scale_rewards", [False, True])
def test_group_advantages_are_a_loop_over_groups(scale_rewards):
    rewards, groups = RNG.normal(size=12), np.array([7, 3, 7, 3, 3, 7, 9, 9, 7, 9, 9, 3])
    expected = np.zeros(12)
    for row in range(12):
        own = rewards[groups == groups[row]]
        expected[row] = rewards[row] - own.mean()
        if scale_rewards:
            expected[row] /= own.std(ddof=1) + 1e-4
    found = group_advantages(rewards, groups, scale_rewards=scale_rewards)
    np.testing.assert_allclose(found.advantages, expected, atol=1e-12)
    assert found.has_spread.all()


def test_the_leave_one_out_baseline_is_the_mean_of_the_others():
    rewards, groups = RNG.normal(size=10), np.repeat([0, 1], 5)
    expected = [
        rewards[row]
        - np.mean([rewards[other] for other in range(10) if other // 5 == row // 5 and other != row])
        for row in range(10)
    ]
    np.testing.assert_allclose(leave_one_out_advantages(rewards, groups).advantages, expected, atol=1e-12)


def test_counts_are_repeated_rows():
    rewards, counts = RNG.normal(size=4), np.array([1, 3, 2, 4])
    repeated = np.repeat(rewards, counts)
    for scale_rewards in (False, True):
        once = group_advantages(rewards, np.zeros(4), counts, scale_rewards=scale_rewards).advantages
        each = group_advantages(repeated, np.zeros(10), scale_rewards=scale_rewards).advantages
        np.testing.assert_allclose(np.repeat(once, counts), each, atol=1e-12)


def test_a_group_of_one_is_an_error():
    with pytest.raises(ConfigError, match="at least 2 samples of a prompt; received one of 1;"):
        group_advantages([1.0, 2.0, 3.0], [0, 0, 1])


def test_whitening_is_that_of_numpy_over_what_counts():
    values, mask = RNG.normal(2.0, 3.0, size=(6, 9)), RNG.random((6, 9)) < 0.6
    counted = values[mask]
    found = whiten(values, mask)
    np.testing.assert_allclose(found[mask], (counted - counted.mean()) / counted.std(ddof=1), rtol=1e-6)
    assert np.all(found[~mask] == 0)
    kept = whiten(values, mask, shift_mean=False)
    assert kept[mask].mean() == pytest.approx(counted.mean())


def rollout(rows=8, length=6, seed=1):
    rng = np.random.default_rng(seed)
    ends = rng.integers(1, length, rows)
    weights = (np.arange(length) <= ends[:, None]) * 1.0
    of_policy, of_reference, values = rng.normal(size=(3, rows, length))
    return {
        "rewards": rng.normal(size=rows),
        "weights": weights,
        "groups": np.repeat(np.arange(rows // 4), 4),
        "log_probs": of_policy,
        "reference_log_probs": of_reference,
        "values": values,
    }


def axes(name):
    if name == "gae":
        return policy_gradient_config("ppo", kl="reward", whiten=False)
    return policy_gradient_config(name)


@pytest.mark.parametrize("name", ["gae", "ppo", "grpo", "rloo", "reinforce"])
def test_padding_and_the_order_of_rows_change_nothing(name):
    data = rollout()
    plain = assign_advantages(axes(name), **data)
    per_token = ("weights", "log_probs", "reference_log_probs", "values")
    longer = {**data, **{key: np.pad(data[key], [(0, 0), (0, 3)], constant_values=0) for key in per_token}}
    padded = assign_advantages(axes(name), **longer)
    np.testing.assert_allclose(padded.advantages[:, :-3], plain.advantages, atol=1e-12)
    assert np.all(padded.advantages[:, -3:] == 0)
    order = np.random.default_rng(2).permutation(len(data["rewards"]))
    shuffled = assign_advantages(axes(name), **{key: value[order] for key, value in data.items()})
    np.testing.assert_allclose(shuffled.advantages, plain.advantages[order], atol=1e-12)


def test_values_after_the_end_token_are_never_read():
    data = rollout()
    other = {**data, "values": np.where(data["weights"] > 0, data["values"], 1e6)}
    first, second = (assign_advantages(axes("gae"), **each) for each in (data, other))
    np.testing.assert_array_equal(first.advantages, second.advantages)
    np.testing.assert_array_equal(first.returns, second.returns)


def test_returns_are_advantages_plus_values_before_whitening():
    data = rollout()
    plain = assign_advantages(axes("gae"), **data)
    whitened = assign_advantages(axes("ppo"), **data)
    sampled = data["weights"] > 0
    np.testing.assert_allclose(plain.returns, np.where(sampled, plain.advantages + data["values"], 0))
    np.testing.assert_array_equal(whitened.returns, plain.returns)
    assert whitened.advantages[sampled].mean() == pytest.approx(0, abs=1e-9)
    assert whitened.advantages[sampled].std(ddof=1) == pytest.approx(1)


def test_a_group_without_spread_leaves_the_loss_and_changes_no_other():
    data = rollout()
    more = {key: np.concatenate([value, value[:4]]) for key, value in data.items()}
    more["groups"] = np.concatenate([data["groups"], [99] * 4])
    more["rewards"] = np.concatenate([data["rewards"], [0.7] * 4])
    plain, longer = (assign_advantages(axes("grpo"), **each) for each in (data, more))
    assert longer.num_constant_rows == 4 and np.all(longer.weights[8:] == 0)
    np.testing.assert_array_equal(longer.advantages[:8], plain.advantages)
    np.testing.assert_array_equal(longer.weights[:8], plain.weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.r_[np.nan, np.zeros(7)]}, "must be finite; received nan for completion 0"),
        ({"rewards": np.zeros(7)}, "one reward for each of 8 completions; received 7"),
        ({"weights": np.zeros((8, 6))}, "completion 0 has none"),
        ({"values": None}, "advantage='gae' needs `values`"),
    ],
)
def test_bad_rollouts_are_errors_of_one_line(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        assign_advantages(axes("gae"), **{**rollout(), **change})
    assert "\n" not in str(caught.value)


def test_contradicting_axes_and_unknown_names_are_errors():
    with pytest.raises(ConfigError, match="there is no preset `gppo`; did you mean `ppo`"):
        policy_gradient_config("gppo")
    with pytest.raises(ConfigError, match="no key `clip_hihg`; did you mean `clip_high`"):
        policy_gradient_config("ppo", clip_hihg=0.1)
    with pytest.raises(ConfigError, match="belongs to advantage='group'"):
        policy_gradient_config("ppo", scale_rewards=True)
    with pytest.raises(ConfigError, match="`kl_weight` must be 0 with kl='none'"):
        policy_gradient_config("dapo", kl_weight=0.1)
