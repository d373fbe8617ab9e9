"""Fires when the loss is worse than a uniform guess."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from highnoon.config import require_count, require_number
from highnoon.monitoring.alert import Alert
from highnoon.monitoring.rules.alert_rule import AlertRule, finite
from highnoon.monitoring.run_facts import RunFacts


class HighLossRule(AlertRule):
    """Fires when the loss exceeds `factor * ln(vocab_size)`; ln(vocab_size) is the loss of a uniform guess.

    Without a vocabulary size it never fires.

    Args:
        factor: Multiple of ln(vocab_size).
        first_steps: Steps at the start of the run that are ignored.
        quiet_steps: Steps at the start of a later stage that are ignored.
        action: One of `ACTIONS`.
    """

    def __init__(
        self, factor: float = 1.5, first_steps: int = 10, quiet_steps: int = 100, action: str = "event"
    ) -> None:
        require_number("factor", factor, above=0)
        require_count("first_steps", first_steps, least=0)
        require_count("quiet_steps", quiet_steps, least=0)
        super().__init__(
            "high_loss",
            "critical",
            "decrease the learning rate or warm up longer, go back to an earlier checkpoint, check the data",
            action,
        )
        self.factor = factor
        self.first_steps = first_steps
        self.quiet_steps = quiet_steps

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        loss = finite(record, "train/loss")
        if loss is None or run.vocab_size is None or run.vocab_size < 2:
            return None
        guessing = math.log(run.vocab_size)
        if loss < self.factor * guessing:
            self.clear()
        elif run.is_settled(record["step"], self.first_steps, self.quiet_steps):
            return self.fire(
                record,
                loss,
                f"the loss is {loss:.4g}, {loss / guessing:.2g} times that of a uniform guess among "
                f"{run.vocab_size:,} tokens ({guessing:.4g})",
            )
        return None
