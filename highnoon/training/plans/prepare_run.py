"""From stages to a plan and its data."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import keras

from highnoon.config import ConfigError, TrainingConfig, is_given
from highnoon.training.distributed import scaled_learning_rate
from highnoon.training.plans.plan import make_plan
from highnoon.training.plans.prepared_run import PreparedRun
from highnoon.training.plans.run_data import StagePreparation, choose_tokenizer, open_stage_sources
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.preflight.flops import seconds_per_token
from highnoon.training.preflight.preflight import require_memory, require_memory_for_rows, require_trainable


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
    """

    model: keras.Model
    config: TrainingConfig
    tokenizer: Any
    data_dir: str | os.PathLike[str] | None
    cache_dir: str | os.PathLike[str] | None
    weight_mode: str
    num_replicas: int
    allow_oversize: bool

    @property
    def packs_rows(self) -> bool:
        """Whether the model can tell documents in one row apart."""
        return hasattr(self.model, "loss_terms")

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
        sources = open_stage_sources(stages, self.data_dir)
        tokenizer, note = choose_tokenizer(self.model, self.tokenizer, sources, self.config.validation_split)
        preparation = StagePreparation(self.packs_rows, tokenizer, self.cache_dir, self.num_replicas)
        data = [
            preparation.prepare(stage, opened, config, self.config.seed + index)
            for index, (stage, opened, config) in enumerate(zip(stages, sources, configs, strict=True))
        ]
        seconds = seconds_per_token(
            self.model, [config.max_seq_length for config in configs], self.num_replicas
        )
        notes = [note] if note else []
        if is_given(epochs) and all(of.steps is not None or of.stage.epochs is not None for of in data):
            notes.append(
                f"note: epochs={epochs} is not used: every stage gives its own length in steps, tokens "
                "or epochs"
            )
        plan = make_plan(data, self.config, int(epochs), self.weight_mode, notes, seconds)
        return PreparedRun(plan, data, int(epochs), tokenizer)

    def _stage_config(self, stage: CurriculumStage) -> TrainingConfig:
        config = dataclasses.replace(self.config, **stage.config_overrides)
        rate = scaled_learning_rate(config.learning_rate, self.num_replicas, config.learning_rate_scaling)
        longest = getattr(self.model, "max_seq_length", None) or config.max_seq_length
        return dataclasses.replace(
            config, learning_rate=rate, max_seq_length=min(config.max_seq_length, longest)
        )
