"""The rules that monitor a policy that learns from rewards."""

from __future__ import annotations

from highnoon.monitoring.rules.alert_rule import AlertRule
from highnoon.monitoring.rules.level_rule import LevelRule


def policy_rules() -> list[AlertRule]:
    """Returns new rules on the metrics of policy gradients; they never fire in other runs."""
    return [
        LevelRule(
            "policy_step_kl",
            "policy/kl_step",
            [(0.05, "warning"), (0.5, "critical")],
            "the policy moved {value} nats a token from the one that sampled, more than {limit}",
            "decrease the learning rate or the epochs of an iteration, or set `target_kl`",
        ),
        LevelRule(
            "policy_reference_kl",
            "policy/kl_reference",
            [(0.5, "warning"), (5.0, "critical")],
            "the policy is {value} nats a token from its reference, more than {limit}",
            "increase `kl_weight`; read samples: the reward may be fooled",
        ),
        LevelRule(
            "policy_entropy",
            "policy/entropy",
            [(0.02, "warning")],
            "the policy's entropy is {value} nats, less than {limit}: it hardly explores",
            "increase `entropy_weight` or the temperature, or decrease the learning rate",
            is_lower_worse=True,
            num_points=3,
        ),
        LevelRule(
            "policy_clip_fraction",
            "policy/clip_fraction",
            [(0.4, "warning")],
            "{value} of the tokens are clipped, more than {limit}: their gradient is zero",
            "decrease the learning rate or the epochs of an iteration",
            num_points=3,
        ),
        LevelRule(
            "reward_without_spread",
            "reward/constant_fraction",
            [(0.9, "warning")],
            "{value} of the completions are in groups of equal rewards, more than {limit}: they have no "
            "gradient",
            "choose prompts that the policy solves sometimes, sample more completions for each, or use a "
            "finer reward",
            num_points=3,
        ),
        LevelRule(
            "completion_length",
            "completion/length_ratio",
            [(2.0, "warning")],
            "completions are {value} times as long as at the start, more than {limit}",
            "look whether the reward grows with length; normalize by a constant, or subtract a cost",
            num_points=3,
        ),
        LevelRule(
            "completion_end",
            "completion/end_fraction",
            [(0.5, "warning")],
            "{value} of the completions reach an end token, less than {limit}",
            "allow longer completions, or give a reward for ending",
            is_lower_worse=True,
            num_points=3,
        ),
    ]
