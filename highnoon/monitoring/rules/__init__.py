"""Alert rules.

- `alert_rule`: the base class; `default_rules`: the rules of every run.
- `expression_rule`: a rule that a user writes as one line; `level_rule`: limits on one metric.
- `high_loss_rule`, `rising_loss_rule`, `plateau_rule`, `overfitting_rule`: rules on losses.
- `non_finite_rule`, `skipped_steps_rule`: rules on faults.
- `policy_rules`: rules on policies that learn from rewards.
- `moving_average`: the average that rules on losses use.
"""
