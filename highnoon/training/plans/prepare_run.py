"""From stages to a plan and its data."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import keras

from highnoon.config import ConfigError, TrainingConfig, is_given
from highnoon.training.distributed import scaled_learning_rate
from highnoon.training.objectives.token_logits import separates_segments
from highnoon.training.plans.choose_tokenizer import choose_tokenizer
from highnoon.training.plans.plan import make_plan
from highnoon.training.plans.prepared_run import PreparedRun
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stage_preparation import StagePreparation
from highnoon.training.plans.stage_sources import open_stage_sources
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.preflight.flops import seconds_per_token
from highnoon.training.preflight.preflight import require_memory, require_memory_for_rows, require_trainable
from highnoon.training.task_losses import gives_token_losses


@dataclasses.dataclass(frozen=True)
class RunPreparation:
    """Tokenizes the data of stages and plans a run over them.

    Args:
        model: The model that will be trained.
        config: The run's configuration.
        tokenizer: Given to the trainer; None takes the model's or trains one.
        data_dir: Where datasets are looked for by name.
        cache_dir: Where tokenized data is stored.
        weight_mode: What a stage's weight acts on.
        num_replicas: Devices that share a step.
        allow_oversize: Whether to start though the memory does not suffice.
        show_progress: Whether a terminal shows the progress of what takes long.
    """

    model: keras.Model
    config: TrainingConfig
    tokenizer: Any
    data_dir: str | os.PathLike[str] | None
    cache_dir: str | os.PathLike[str] | None
    weight_mode: str
    num_replicas: int
    allow_oversize: bool
    show_progress: bool = True

    @property
    def packs_rows(self) -> bool:
        """Whether the model can tell documents in one row apart."""
        return separates_segments(self.model)

    def prepare(self, stages: Sequence[CurriculumStage], epochs: int) -> PreparedRun:
        """Returns plan and data.

        Args:
            stages: In the order in which they run.
            epochs: Of stages that give no length; a note says where it was given and no stage uses it.

        Raises:
            ConfigError: there are no stages, or a dataset, the tokenizer or the model do not fit.
            LimitExceededError: the machine's memory does not suffice.
        """
        if not stages:
            raise ConfigError("there is nothing to train on; call add_curriculum_stage(name, datasets) first")
        require_trainable(self.model)
        trainable = [stage.trainable for stage in stages]
        require_memory(self.model, self.config, self.allow_oversize, trainable)
        configs = [self._stage_config(stage) for stage in stages]
        require_memory_for_rows(configs, self.num_replicas, self.allow_oversize)
        known = self.tokenizer if self.tokenizer is not None else getattr(self.model, "tokenizer", None)
        sources = open_stage_sources(stages, self.data_dir, getattr(known, "chat_template", None))
        tokenizer, note = choose_tokenizer(self.model, self.tokenizer, sources, self.config.validation_split)
        tasks = list(dict.fromkeys(task for stage in stages for task in stage.tasks or ()))
        knows_losses = gives_token_losses(self.model)
        preparation = self._stage_preparation(tokenizer, tasks if knows_losses else ())
        data = [
            preparation.prepare(stage, opened, config, self.config.seed + index)
            for index, (stage, opened, config) in enumerate(zip(stages, sources, configs, strict=True))
        ]
        seconds = seconds_per_token(
            self.model, [config.max_seq_length for config in configs], self.num_replicas
        )
        notes = [note] if note else []
        if tasks and not knows_losses:
            notes.append(
                f"note: {type(self.model).__name__}.loss_terms takes no `token_losses`, so the losses of "
                "tasks are not reported"
            )
        if is_given(epochs) and all(of.steps is not None or of.stage.epochs is not None for of in data):
            notes.append(
                f"note: epochs={epochs} is not used: every stage gives its own length in steps, tokens "
                "or epochs"
            )
        plan = make_plan(data, self.config, int(epochs), self.weight_mode, notes, seconds)
        return PreparedRun(plan, data, int(epochs), tokenizer)

    def held_out(self, stage: CurriculumStage) -> StageData:
        """Returns the rows of a stage that is evaluated and not trained.

        Args:
            stage: Its `validation_data` are evaluated.

        Raises:
            ConfigError: its data, the tokenizer or the model do not fit.
        """
        known = self.tokenizer if self.tokenizer is not None else getattr(self.model, "tokenizer", None)
        (opened,) = open_stage_sources([stage], self.data_dir, getattr(known, "chat_template", None))
        tokenizer, _ = choose_tokenizer(self.model, self.tokenizer, [opened], 0.0)
        preparation = self._stage_preparation(tokenizer)
        return preparation.prepare(stage, opened, self._stage_config(stage), self.config.seed)

    def _stage_preparation(self, tokenizer: Any, tasks: Sequence[str] = ()) -> StagePreparation:
        return StagePreparation(
            self.packs_rows,
            tokenizer,
            self.cache_dir,
            self.num_replicas,
            show_progress=self.show_progress,
            tasks=tasks,
        )

    def _stage_config(self, stage: CurriculumStage) -> TrainingConfig:
        config = dataclasses.replace(self.config, **stage.config_overrides)
        rate = scaled_learning_rate(config.learning_rate, self.num_replicas, config.learning_rate_scaling)
        longest = getattr(self.model, "max_seq_length", None) or config.max_seq_length
        return dataclasses.replace(
            config, learning_rate=rate, max_seq_length=min(config.max_seq_length, longest)
        )
