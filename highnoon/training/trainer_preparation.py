"""From the stages of a trainer to their data, the plan, and the run that it resumes."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from highnoon.config import ConfigError, canonical_keys, default, require_count
from highnoon.config.known_arguments import known_arguments
from highnoon.training.checkpoints import snapshot
from highnoon.training.checkpoints.saved_run import SavedRun
from highnoon.training.plans.evaluate_stages import evaluate_stages
from highnoon.training.plans.plan import TrainingPlan
from highnoon.training.plans.prepare_run import RunPreparation
from highnoon.training.plans.prepared_run import PreparedRun
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.plans.step_size import StepSize
from highnoon.training.preflight.preflight import Preflight, preflight
from highnoon.training.runs.run_arguments import RunArguments, asked_epochs
from highnoon.training.runs.run_description import trainer_as_html
from highnoon.training.runs.run_folder import RunLabel
from highnoon.training.steps.replicas import all_variables
from highnoon.training.trainable_weights import require_float32
from highnoon.training.trainer_config import with_saved_defaults
from highnoon.training.trainer_stages import TrainerStages


class TrainerPreparation(TrainerStages):
    """Base of `Trainer`: everything before the first step."""

    @property
    def packs_rows(self) -> bool:
        """Whether the model can tell documents in one row apart."""
        return self._preparation().packs_rows

    @property
    def rows_per_step(self) -> int:
        """Rows in one optimizer step of all replicas."""
        return StepSize(self.config, self.replicas.count).rows_per_step

    @known_arguments
    def plan(self, epochs_per_stage: int | None = None) -> TrainingPlan:
        """Tokenizes the data and returns what a run would do; printing it shows a table.

        Raises:
            ConfigError: there are no stages, a weight that training changes is not stored in float32, or a
                dataset, the tokenizer or the model do not fit.
        """
        require_float32(self.model)
        return self._prepare(asked_epochs(epochs_per_stage)).plan

    def _repr_html_(self) -> str:
        plan = None if self._prepared is None else self._prepared.plan
        return trainer_as_html(self.model, self.config, self.stages, plan)

    def stage_data(self) -> list[StageData]:
        """Returns the rows of each stage, prepared as `plan` does.

        Raises:
            ConfigError: as `plan`.
        """
        return self._prepare(None).data

    @known_arguments
    def evaluate(
        self, data: Any = None, *, steps: int | None = None, batch_size: int | None = None
    ) -> dict[str, float]:
        """Returns the figures of each objective over all held-out documents of the stages that have it.

        Args:
            data: What to evaluate instead, as `datasets` of a stage; all its documents, by the trainer's
                objective.
            steps: Batches of each stage's data at most, an even sample, without `bits_per_byte`; None for
                all.
            batch_size: Rows of one replica in a batch; None for that of training.

        For next-token prediction these are `loss` (nats a token), `perplexity` and, where all of the text is
        supervised, `bits_per_byte`. With
        several objectives each name begins with that of the objective: `classification/accuracy`.

        Raises:
            ConfigError: nothing is held out, or `data` cannot be evaluated.
        """
        for name, count in (("steps", steps), ("batch_size", batch_size)):
            if count is not None:
                require_count(name, count)
        if data is not None:
            stage = CurriculumStage("evaluation", data, steps=1, validation_data=data)
            stage.objective = self.objective
            stages = [self._preparation().held_out(stage)]
        else:
            stages = self._prepare(None).data
        self.replicas.adopt(all_variables(self.model))
        return evaluate_stages(self.model, self.replicas, stages, steps=steps, batch_size=batch_size)

    @known_arguments
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
        require_float32(self.model)
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
            show_progress=self._shows_progress,
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
        self._label = RunLabel.of_state(saved.state)
        self._epochs_per_stage = default(saved.state["epochs_per_stage"])
        self._loaded, self._prepared = saved, None
        self.config = with_saved_defaults(self.config, canonical_keys(saved.state["training_config"]))
        if self.tokenizer is None:
            self.tokenizer = snapshot.read_tokenizer(saved.folder)
        saved.keep_reports(self.stages)
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
        has_held_out = any(data.validation_rows is not None for data in prepared.data)
        rules = self._callback_rules(arguments.evaluators, has_held_out)
        rules.require([*self.callbacks, *arguments.callbacks])
        memory = self.inspect(prepared)
        if memory.problems:
            raise ConfigError("; ".join(memory.problems))
        if arguments.restore_best and not has_held_out:
            raise ConfigError(
                "`restore_best` (--restore-best) compares held-out losses, and no stage holds a document "
                "out; give more documents (a text file of up to 64 KiB is one, JSON lines have one a line)"
            )
        return memory

    def _identity(self) -> dict[str, Any]:
        """Returns what a checkpoint says of the run besides its progress, as JSON values."""
        return {
            **dataclasses.asdict(self._label),
            "epochs_per_stage": int(self._epochs_per_stage),
            "weight_mode": self.weight_mode,
            "training_config": self.config.to_dict(),
            "packing": self.packs_rows,
            "data_dir": None if self.data_dir is None else os.path.abspath(self.data_dir),
            "stages": [stage.to_dict() for stage in self.stages],
            "plan": self._prepared.plan.to_dict() if self._prepared else None,
        }
