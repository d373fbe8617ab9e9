"""A run before its first step: its plan, its data, and what follows from them."""

from __future__ import annotations

import dataclasses
from typing import Any

from highnoon.config import TrainingConfig
from highnoon.files.print_text import print_text
from highnoon.training.checkpoints.checkpoint import CheckpointError
from highnoon.training.checkpoints.saved_run import SavedRun
from highnoon.training.plans.plan import TrainingPlan
from highnoon.training.plans.plan_changes import config_changes
from highnoon.training.plans.schedule_change import describe_schedule_change, saved_schedule
from highnoon.training.plans.stage_data import StageData
from highnoon.training.steps.run_schedule import RunSchedule


@dataclasses.dataclass(frozen=True)
class PreparedRun:
    """The plan of a run and the data of its stages.

    Args:
        plan: The plan.
        data: The rows of each stage.
        epochs_per_stage: Of stages that give no length.
        tokenizer: Of the run.
    """

    plan: TrainingPlan
    data: list[StageData]
    epochs_per_stage: int
    tokenizer: Any

    def schedule(self, config: TrainingConfig) -> RunSchedule:
        """Returns the learning rate of the run; called under the strategy, since it has variables."""
        return RunSchedule(
            peaks=[stage.learning_rate for stage in self.plan.stages],
            stage_ends=self.plan.stage_ends,
            warmup_steps=self.plan.warmup_steps,
            decay=config.schedule,
            min_ratio=config.min_learning_rate_ratio,
            decay_ratio=config.decay_ratio,
        )

    def accept_changes(
        self,
        config: TrainingConfig,
        saved: SavedRun,
        *,
        extend: bool,
        allow_plan_change: bool,
        is_shown: bool,
    ) -> None:
        """Refuses to resume a run that followed another plan, and shows what differs where that is allowed.

        Args:
            config: The run's configuration.
            saved: What the run resumes from.
            extend: Whether the run may be longer.
            allow_plan_change: Whether it may differ in anything.
            is_shown: Whether to print the differences.

        Raises:
            CheckpointError: the plans differ in more than is allowed.
        """
        plan, state = self.plan, saved.state
        of_config = config_changes(config.to_dict(), state["training_config"])
        changes = plan.changes(state["plan"], extend) + of_config
        refused = [] if allow_plan_change else [c for c in changes if not (extend and c.is_extension)]
        if refused:
            if_extended = plan.changes(state["plan"], extends=True) + of_config
            lengthens = all(change.is_extension for change in if_extended)
            remedy = (
                "train(extend=True), on the command line --extend"
                if lengthens
                else "train(allow_plan_change=True), on the command line --allow-plan-change"
            )
            raise CheckpointError(
                f"the run in {saved.folder} followed another plan: {'; '.join(map(str, refused))}. Resume "
                "with the stages, data and options that it began with, start a new run without "
                f"`resume_from` (--resume), or accept the change with {remedy}"
            )
        if is_shown:
            for change in changes:
                print_text(f"changed: {change}")
            if (
                any(change.is_extension for change in changes)
                and self.plan.stages
                and state["plan"]["stages"]
            ):
                step = state["run"]["progress"]["step"]
                print_text(describe_schedule_change(self.schedule(config), saved_schedule(state), step))
