"""A trainer before its run: stages, their data, the plan, and the run that it resumes."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras

from highnoon.callbacks import CallbackGroup
from highnoon.config import ConfigError, TrainingConfig, default, is_given
from highnoon.training.checkpoints import snapshot
from highnoon.training.checkpoints.saved_run import SavedRun
from highnoon.training.curricula.task_mix import sequence_length_stages, task_mix_stages
from highnoon.training.objective import Objective, describe_objective
from highnoon.training.plans.evaluate_stages import evaluate_stages
from highnoon.training.plans.plan import TrainingPlan
from highnoon.training.plans.prepare_run import RunPreparation
from highnoon.training.plans.prepared_run import PreparedRun
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.plans.step_size import StepSize
from highnoon.training.preflight.preflight import Preflight, preflight
from highnoon.training.runs.run_arguments import RunArguments, asked_epochs
from highnoon.training.steps.replicas import Replicas, all_variables
from highnoon.training.trainable_weights import TrainableWeights

DEFAULT_EPOCHS_PER_STAGE = default(10)


class TrainerStages:
    """Base of `Trainer`: what a run consists of, without the run.

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
        self._epochs_per_stage = self.default_epochs
        self._run_id = uuid.uuid4().hex[:8]
        self._prepared: PreparedRun | None = None  # of the stages as they are now
        self._loaded: SavedRun | None = None  # what `train` resumes without being told

    @property
    def default_epochs(self) -> int:
        """Epochs of stages that give no length, where `train` does not give them either."""
        return self.config.epochs if is_given(self.config.epochs) else DEFAULT_EPOCHS_PER_STAGE

    @property
    def packs_rows(self) -> bool:
        """Whether the model can tell documents in one row apart."""
        return self._preparation().packs_rows

    @property
    def rows_per_step(self) -> int:
        """Rows in one optimizer step of all replicas."""
        return StepSize(self.config, self.replicas.count).rows_per_step

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
        )
        return self._add_stage(stage)

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
        if any(other.name == name for other in self.stages):
            raise ConfigError(f"there already is a stage `{name}`; stages need distinct names")
        dataclasses.replace(self.config, **stage.config_overrides)
        if stage.objective is None:
            stage.objective = self.objective
        describe_objective(stage.objective)
        TrainableWeights(self.model).matching(stage.trainable)
        self.stages.append(stage)
        self._prepared = None
        return self

    def add_callback(self, callback: Any) -> None:
        """Adds a `keras.callbacks.Callback`, or a function that is called with every event (a dict).

        The events and their keys are listed at `highnoon.callbacks.EventCallback`.
        """
        CallbackGroup([callback])
        self.callbacks.append(callback)

    def plan(self, epochs_per_stage: int | None = None) -> TrainingPlan:
        """Tokenizes the data and returns what a run would do; printing it shows a table.

        Raises:
            ConfigError: there are no stages, or a dataset, the tokenizer or the model do not fit.
        """
        return self._prepare(asked_epochs(epochs_per_stage)).plan

    def stage_data(self) -> list[StageData]:
        """Returns the rows of each stage, prepared as `plan` does.

        Raises:
            ConfigError: as `plan`.
        """
        return self._prepare(None).data

    def evaluate(self) -> dict[str, float]:
        """Returns the figures of each objective over all held-out documents of the stages that have it.

        For next-token prediction these are `loss` (nats a token), `perplexity` and `bits_per_byte`. With
        several objectives each name begins with that of the objective: `classification/accuracy`.

        Raises:
            ConfigError: nothing is held out.
        """
        data = self._prepare(None).data
        distinct = {_evaluated(stage): stage for stage in data if stage.validation_rows is not None}
        if not distinct:
            raise ConfigError(
                "no stage has a held-out document; add more documents or raise `validation_split`"
            )
        self.replicas.adopt(all_variables(self.model))
        figures = evaluate_stages(self.model, self.replicas, list(distinct.values()))
        if len(figures) == 1:
            return next(iter(figures.values()))
        return {f"{name}/{key}": value for name, group in figures.items() for key, value in group.items()}

    def preflight(
        self,
        epochs_per_stage: int | None = None,
        *,
        resume_from: str | os.PathLike[str] | bool | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        extend: bool = False,
        allow_plan_change: bool = False,
    ) -> Preflight:
        """Checks memory, tokenizer and rows for a run and trains nothing; printing it shows a report.

        With `resume_from` it also checks that the run can be resumed, and takes over its identity, as
        `Trainer.load` does. The arguments are those of `train`.

        Raises:
            ConfigError: as `plan`.
            CheckpointError: `resume_from` is no checkpoint, or one of another model or plan.
        """
        arguments = RunArguments(
            checkpoint_dir=checkpoint_dir,
            resume_from=resume_from,
            extend=extend,
            allow_plan_change=allow_plan_change,
        )
        saved = self._resumed(arguments)
        prepared = self._prepare(asked_epochs(epochs_per_stage), saved)
        self._accept_changes(prepared, saved, arguments)
        return self.inspect(prepared)

    def inspect(self, prepared: PreparedRun) -> Preflight:
        """Returns what a prepared run needs, and what is wrong with it."""
        return preflight(
            self.model, self.config, prepared.plan, prepared.data, prepared.tokenizer, self.replicas.count
        )

    def _prepare(self, epochs: int | None, saved: SavedRun | None = None) -> PreparedRun:
        """Returns plan and data of the stages; both are made again only if something changed.

        Args:
            epochs: Of stages that give no length; None takes those of the last plan or of the saved run.
            saved: What a run resumes from.
        """
        if epochs is None:
            epochs = self._epochs_per_stage if saved is None else default(saved.state["epochs_per_stage"])
        if self._prepared is None or self._prepared.epochs_per_stage != epochs:
            preparation = self._preparation()
            self._prepared = preparation.prepare(self.stages, epochs)
            self._epochs_per_stage, self.tokenizer = epochs, self._prepared.tokenizer
            if hasattr(self.model, "tokenizer"):
                self.model.tokenizer = self.tokenizer
            for data in self._prepared.data:
                if description := data.objective.describe_outputs():
                    self.model.outputs_description = description
        return self._prepared

    def _preparation(self) -> RunPreparation:
        return RunPreparation(
            model=self.model,
            config=self.config,
            tokenizer=self.tokenizer,
            data_dir=self.data_dir,
            cache_dir=self.cache_dir,
            weight_mode=self.weight_mode,
            num_replicas=self.replicas.count,
            allow_oversize=self.allow_oversize,
        )

    def _resumed(self, arguments: RunArguments) -> SavedRun | None:
        """Returns the run to resume, whose identity the trainer takes over; None for a new run."""
        path = arguments.resume_path()
        saved = self._loaded if path is None else SavedRun.find(path)
        if saved is not None:
            snapshot.require_same_model(self.model, saved.folder)
            self._adopt(saved)
        return saved

    def _adopt(self, saved: SavedRun) -> None:
        """Takes over a saved run's identity, tokenizer and, where this trainer has none, its stages."""
        self._run_id = saved.state["run_id"]
        self._epochs_per_stage = default(saved.state["epochs_per_stage"])
        self._loaded, self._prepared = saved, None
        if self.tokenizer is None:
            self.tokenizer = snapshot.read_tokenizer(saved.folder)
        if not self.stages:
            self.stages = [snapshot.stage_from_dict(values) for values in saved.state["stages"]]

    def _accept_changes(self, prepared: PreparedRun, saved: SavedRun | None, arguments: RunArguments) -> None:
        if saved is not None and saved.has_begun:
            prepared.accept_changes(
                self.config,
                saved,
                extend=arguments.extend,
                allow_plan_change=arguments.allow_plan_change,
                is_shown=arguments.verbose and self.replicas.is_chief,
            )

    def _require_sound(
        self, prepared: PreparedRun, saved: SavedRun | None, arguments: RunArguments
    ) -> Preflight:
        """Checks a run before its first step, and returns what it needs."""
        self._accept_changes(prepared, saved, arguments)
        memory = self.inspect(prepared)
        if memory.problems:
            raise ConfigError("; ".join(memory.problems))
        if arguments.restore_best and all(data.validation_rows is None for data in prepared.data):
            raise ConfigError(
                "`restore_best` (--restore-best) compares held-out losses, and no stage holds a document out"
            )
        return memory

    def _identity(self) -> dict[str, Any]:
        """Returns what a checkpoint says of the run besides its progress, as JSON values."""
        return {
            "run_id": self._run_id,
            "epochs_per_stage": int(self._epochs_per_stage),
            "weight_mode": self.weight_mode,
            "training_config": self.config.to_dict(),
            "packing": self.packs_rows,
            "data_dir": None if self.data_dir is None else os.path.abspath(self.data_dir),
            "stages": [stage.to_dict() for stage in self.stages],
            "plan": self._prepared.plan.to_dict() if self._prepared else None,
        }


def _evaluated(data: StageData) -> tuple[str, str]:
    """Returns what is equal for stages whose held-out figures are the same."""
    return data.data_key, str(describe_objective(data.objective))
