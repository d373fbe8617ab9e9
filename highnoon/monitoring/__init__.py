"""Monitors a run from its metrics: alert rules, the metrics file, the terminal page.

Nothing here needs Keras or a device, so a monitor starts at once.

- `metrics/`: names of metrics, and readers of the metrics file.
- `alert`, `run_facts`: one alert, and what rules know of a run.
- `rules/`: alert rules.
- `alert_engine`: applies rules to metrics.
- `views/`: a run as a terminal page, a curve or a picture.
"""

from highnoon.monitoring.alert import ACTIONS, SEVERITIES, Alert
from highnoon.monitoring.alert_engine import AlertEngine
from highnoon.monitoring.metrics.metrics_reader import MetricsReader, read_metrics
from highnoon.monitoring.rules.alert_rule import AlertRule
from highnoon.monitoring.rules.default_rules import default_rules
from highnoon.monitoring.rules.expression_rule import ExpressionRule, parse_rule
from highnoon.monitoring.rules.level_rule import LevelRule

__all__ = [
    "ACTIONS",
    "SEVERITIES",
    "Alert",
    "AlertEngine",
    "AlertRule",
    "ExpressionRule",
    "LevelRule",
    "MetricsReader",
    "default_rules",
    "parse_rule",
    "read_metrics",
]
