"""The rules that monitor every run."""

from __future__ import annotations

from highnoon.monitoring.rules.alert_rule import AlertRule
from highnoon.monitoring.rules.firing_rate_rule import FiringRateRule
from highnoon.monitoring.rules.high_loss_rule import HighLossRule
from highnoon.monitoring.rules.level_rule import LevelRule
from highnoon.monitoring.rules.non_finite_rule import NonFiniteRule
from highnoon.monitoring.rules.overfitting_rule import OverfittingRule
from highnoon.monitoring.rules.plateau_rule import PlateauRule
from highnoon.monitoring.rules.policy_rules import policy_rules
from highnoon.monitoring.rules.rising_loss_rule import RisingLossRule
from highnoon.monitoring.rules.skipped_steps_rule import SkippedStepsRule


def default_rules() -> list[AlertRule]:
    """Returns new rules; a rule whose metric a run does not have never fires."""
    # A long function, because it is one list that is read from top to bottom.
    return [
        NonFiniteRule(),
        HighLossRule(),
        RisingLossRule(),
        PlateauRule(),
        OverfittingRule(),
        SkippedStepsRule(),
        LevelRule(
            "gradient_norm",
            "train/grad_norm",
            [(10.0, "info"), (100.0, "warning")],
            "the gradient norm before clipping is {value}, above {limit}",
            "decrease the learning rate, warm up longer, or clip: set `gradient_clip`, or make it smaller",
            first_steps=10,
        ),
        LevelRule(
            "update_too_large",
            "train/update_ratio",
            [(3e-2, "info"), (1e-1, "warning")],
            "an update changes the weights by {value} of their size; about 0.001 is usual",
            "decrease the learning rate",
            num_points=3,
            first_steps=10,
        ),
        LevelRule(
            "update_too_small",
            "train/update_ratio",
            [(1e-5, "info")],
            "an update changes the weights by {value} of their size; about 0.001 is usual",
            "increase the learning rate, unless its schedule is at its end or still warming up",
            is_lower_worse=True,
            num_points=3,
            first_steps=100,
        ),
        FiringRateRule(
            "firing_rate",
            0.5,
            "warning",
            "{value} of the neurons fire{where}, more than {limit}; about 0.1 is usual",
            "increase the weight of the sparsity loss (`sparsity_weight`), or the threshold",
        ),
        FiringRateRule(
            "dead_neurons",
            0.01,
            "critical",
            "{value} of the neurons fire{where}, less than {limit}: hardly any gradient passes them",
            "stop: scale the input of the neurons so that they fire, as a new model does "
            "(`sparsity_target`), or lower the threshold or `tau_mem`, and lower the learning rate",
            is_lower_worse=True,
        ),
        LevelRule(
            "dead_experts",
            "router/load_entropy",
            [(0.8, "warning")],
            "the experts' load has {value} of the entropy of an even load, less than {limit}: some are "
            "hardly used",
            "increase `aux_loss_weight`, or use a router that balances with a bias; early in a run a lower "
            "learning rate helps",
            is_lower_worse=True,
            num_points=3,
            clear_at=1.05,
        ),
        LevelRule(
            "starved",
            "train/data_wait_fraction",
            [(0.2, "warning")],
            "{value} of the time is spent waiting for data, more than {limit}",
            "find what reading waits for: a slow disk, a network, another process; the device is idle",
            num_points=3,
            first_steps=1,
        ),
        *policy_rules(),
    ]
