"""Watching a run from its figures alone: alert rules, the metrics file, the terminal page.

Nothing here needs Keras or a device, so that a monitor starts at once.
"""

from highnoon.monitoring.alert import ACTIONS, SEVERITIES, Alert
from highnoon.monitoring.alert_engine import AlertEngine
from highnoon.monitoring.metrics_reader import MetricsReader, read_metrics
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
