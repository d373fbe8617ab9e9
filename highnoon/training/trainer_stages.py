"""The stages and callbacks of a trainer, before anything is read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras

from highnoon.callbacks import CallbackGroup
from highnoon.config import ConfigError, TrainingConfig, default, is_given
from highnoon.config.known_arguments import known_arguments
from highnoon.training.checkpoints.saved_run import SavedRun
from highnoon.training.curricula.task_mix import sequence_length_stages, task_mix_stages
from highnoon.training.evaluators import Evaluator
from highnoon.training.objective import Objective, describe_objective
from highnoon.training.plans.prepared_run import PreparedRun
from highnoon.training.plans.require_fits_optimizer import require_fits_optimizer
from highnoon.training.plans.stages import OVERRIDABLE, CurriculumStage
from highnoon.training.runs.require_callbacks import CallbackRules
from highnoon.training.runs.run_folder import RunLabel
from highnoon.training.steps.replicas import Replicas
from highnoon.training.trainable_weights import TrainableWeights

DEFAULT_EPOCHS_PER_STAGE = default(10)


class TrainerStages:
    """Base of `TrainerPreparation`: what a run consists of, before its data is read.

    Args:
        model: The model that is trained.
        config: The run's configuration.
        replicas: The devices.
        objective: Of stages that name none.
        tokenizer: Of the run; None takes the model's or trains one.
        data_dir: Where datasets are looked for by name.
        cache_dir: Where tokenized data is stored.
        weight_mode: What a stage's weight acts on.
        allow_oversize: Whether to start though the memory does not suffice.
    """

    def __init__(
        self,
        model: keras.Model,
        config: TrainingConfig,
        *,
        replicas: Replicas,
        objective: Objective,
        tokenizer: Any,
        data_dir: str | os.PathLike[str] | None,
        cache_dir: str | os.PathLike[str] | None,
        weight_mode: str,
        allow_oversize: bool,
    ) -> None:
        self.model, self.config, self.replicas, self.objective = model, config, replicas, objective
        self.tokenizer, self.data_dir, self.cache_dir = tokenizer, data_dir, cache_dir
        self.weight_mode, self.allow_oversize = weight_mode, allow_oversize
        self.stages: list[CurriculumStage] = []
        self.callbacks: list[Any] = []
        self.evaluators: list[Evaluator] = []
        self._epochs_per_stage = self.default_epochs
        self._label = RunLabel.new()
        self._prepared: PreparedRun | None = None  # of the stages as they are now
        self._held_out_by_default: set[str] = set()  # stages with the validation data of `train`
        self._shows_progress = True
        self._loaded: SavedRun | None = None  # what `train` resumes without being told

    @property
    def default_epochs(self) -> int:
        """Epochs of stages that give no length, where `train` does not give them either."""
        return self.config.epochs if is_given(self.config.epochs) else DEFAULT_EPOCHS_PER_STAGE

    @known_arguments(options=OVERRIDABLE)
    def add_curriculum_stage(
        self,
        name: str,
        datasets: Any,
        epochs: int | None = None,
        weight: float = 1.0,
        *,
        steps: int | None = None,
        scheduler: Any | None = None,
        tokens: int | None = None,
        balance: str | float | None = None,
        max_repeats: float = 4.0,
        optional: Sequence[str] = (),
        objective: Any = None,
        trainable: Sequence[str] | None = None,
        validation_data: Any = None,
        tasks: Sequence[str] | None = None,
        **config_overrides: Any,
    ) -> Self:
        """Adds a stage after those already there; see `CurriculumStage` for the arguments.

        Returns:
            The trainer itself, so that calls can be chained.

        Raises:
            ConfigError: the stage is not possible, or its name is taken.
        """
        stage = CurriculumStage(
            name=name,
            datasets=datasets,
            epochs=epochs,
            weight=weight,
            config_overrides=config_overrides,
            steps=steps,
            scheduler=scheduler,
            tokens=tokens,
            balance=balance,
            max_repeats=max_repeats,
            optional=optional,
            objective=objective,
            trainable=trainable,
            validation_data=validation_data,
            tasks=tasks,
        )
        return self._add_stage(stage)

    @known_arguments
    def add_task_mix(
        self,
        tasks: Mapping[str, Any],
        stages: Sequence[Mapping[str, Any]],
        optional: Sequence[str] = (),
        max_iters: int | None = None,
    ) -> Self:
        """Adds stages that mix tasks by weights of their own; see `task_mix_stages` for the arguments.

        Raises:
            ConfigError: a task without data, weights that do not sum to one, or lengths that do not fit.
        """
        for stage in task_mix_stages(tasks, stages, optional, max_iters):
            self._add_stage(stage)
        return self

    def add_sequence_length_stages(
        self, name: str, datasets: Any, lengths: Sequence[int], **arguments: Any
    ) -> Self:
        """Adds one stage for each row length, of as many tokens a step; see `sequence_length_stages`.

        Raises:
            ConfigError: lengths that do not grow, or do not divide the tokens of a step.
        """
        for stage in sequence_length_stages(name, datasets, lengths, self.config, **arguments):
            self._add_stage(stage)
        return self

    def _add_stage(self, stage: CurriculumStage) -> Self:
        name = stage.name
        same = next((other for other in self.stages if other.name == name), None)
        if same is not None and not same.is_absent:
            raise ConfigError(
                f"there already is a stage `{name}`; give another name, or make a new Trainer to begin again "
                "without its stages"
            )
        dataclasses.replace(self.config, **stage.config_overrides)
        if stage.objective is None:
            stage.objective = self.objective
        describe_objective(stage.objective)
        require_fits_optimizer(stage, self.config.optimizer, self.weight_mode)
        TrainableWeights(self.model).matching(stage.trainable)
        if same is None:
            self.stages.append(stage)
        else:
            # A loaded run describes data in memory; here it is given again.
            stage.take_names(same)
            self.stages[self.stages.index(same)] = stage
        self._prepared = None
        return self

    def add_callback(self, callback: Any) -> None:
        """Adds a `keras.callbacks.Callback`, or a function that is called with every event (a dict).

        The events and their keys are listed at `highnoon.callbacks.EventCallback`.

        Raises:
            TypeError: it is neither.
            ConfigError: a run cannot do what the callback needs, such as a figure to monitor.
        """
        CallbackGroup([callback])
        self._callback_rules().require([callback])
        self.callbacks.append(callback)

    def _callback_rules(
        self, evaluators: Sequence[Evaluator] = (), has_held_out: bool | None = None
    ) -> CallbackRules:
        """Returns what callbacks can rely on, of the stages so far."""
        return CallbackRules(
            config=self.config,
            objectives=[self.objective, *(s.objective.with_tasks(s.tasks or ()) for s in self.stages)],
            evaluators=[*self.evaluators, *evaluators],
            stages=self.stages,
            has_held_out=has_held_out,
        )

    def _hold_out(self, validation_data: Any) -> None:
        """Gives validation data to the stages that were given none of their own."""
        if validation_data is None:
            return
        for index, stage in enumerate(self.stages):
            held_out = stage.validation_stage()
            if held_out is None or held_out.is_absent or stage.name in self._held_out_by_default:
                self.stages[index] = dataclasses.replace(stage, validation_data=validation_data)
                self._held_out_by_default.add(stage.name)
                self._prepared = None
