"""The Trainer: stages in, a trained model and its checkpoints out."""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import pathlib
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from highnoon.callbacks import Alerts, CallbackGroup, MetricsFile, ProgressBar, TensorBoardLog
from highnoon.config import (
    ConfigError,
    TrainingConfig,
    default,
    is_given,
    require_choice,
    require_count,
    require_flag,
    require_path,
    resolve_keys,
    shown,
)
from highnoon.files.print_text import print_text
from highnoon.training.checkpoints import checkpoint, snapshot
from highnoon.training.checkpoints.checkpoint_writer import CheckpointWriter
from highnoon.training.checkpoints.sound_checkpoints import find_sound_checkpoint
from highnoon.training.curricula.task_mix import sequence_length_stages, task_mix_stages
from highnoon.training.distributed import resolve_strategy, scaled_learning_rate
from highnoon.training.optimizers import FunctionalOptimizer, make_optimizer
from highnoon.training.plans.plan import TrainingPlan, config_changes, make_plan
from highnoon.training.plans.run_data import StagePreparation, choose_tokenizer, open_stage_sources
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.preflight.flops import flops_per_token, measure_peak_flops
from highnoon.training.preflight.preflight import (
    Preflight,
    describe_out_of_memory,
    preflight,
    require_memory,
    require_memory_for_rows,
    require_trainable,
)
from highnoon.training.runs.best_weights import BestWeights
from highnoon.training.runs.held_folders import HeldFolders, releases_folders
from highnoon.training.runs.progress import Progress
from highnoon.training.runs.run import Intervals, TrainingRun
from highnoon.training.steps.evaluation import EvaluationStep
from highnoon.training.steps.replicas import Replicas, all_variables, strategy_of, watch_peers
from highnoon.training.steps.run_schedule import RunSchedule
from highnoon.training.steps.step_state import StepState

__all__ = ["CurriculumStage", "Trainer"]

DEFAULT_EPOCHS_PER_STAGE = 10


class Trainer:
    """Trains a model through the stages of a curriculum.

    Args:
        model: A HighNoon language model, or any built `keras.Model` from `token_ids` and `padding_mask` to
            logits.
        learning_rate: Peak learning rate.
        batch_size: Rows in one micro-batch.
        max_seq_length: Tokens in a row; never more than the model's own `max_seq_length`.
        gradient_accumulation_steps: Micro-batches in one optimizer step.
        config: A `TrainingConfig`, by default the one that the model was created with. Each of the four
            arguments above overrides it where it is given, whatever its value.
        tokenizer: Overrides the model's. Where neither exists, one of the model's vocabulary size is trained
            on the stages' own text.
        data_dir: Where datasets are looked for by name, before `HIGHNOON_DATA`.
        cache_dir: Where tokenised data is kept; None takes `HIGHNOON_CACHE` or the user's cache.
        weight_mode: What a stage's `weight` multiplies: `"loss"` (which AdamW nearly cancels) or
            `"learning_rate"`.
        strategy: `"auto"`, or a synchronous `tf.distribute.Strategy`: `"auto"` takes the one under which the
            model was made or whose scope is open, else all workers of the environment, else all GPUs, see
            `highnoon.training.distributed.resolve_strategy`. A model made elsewhere is moved under it.
        on_callback_error: `"raise"` ends the run in order, saved, when a callback raises; `"warn"` goes on.
        jit_compile: Whether XLA compiles the forward and backward pass, see `TrainStep`; None does so
            for this package's models and leaves others alone.
        auto_batch: Whether a call of one step, as the first is, that does not fit into memory is tried with
            micro-batches of half the size, at the same global batch.
        steps_per_execution: Most optimizer steps in one call of the device, as in Keras's `compile`; the
            weights are the same for any, unless the fault ladder acts, which looks between calls. A call
            ends at each log point, evaluation and checkpoint; Keras's batch hooks and `step_end` come once
            a call, and so does an answer to a signal.
        allow_oversize: Whether to start though weights, gradients and slots exceed the machine's memory.
        **options: Further `TrainingConfig` fields, such as `warmup_steps=100`.

    Raises:
        ConfigError: an unknown option or a value out of its range.

    Example:

    ```python
    from highnoon.models import create_model

    trainer = Trainer(create_model("highnoon-nano"), learning_rate=3e-3, batch_size=8)
    trainer.add_curriculum_stage("foundation", datasets=["stdlib:docs"], steps=5)
    summary = trainer.train(checkpoint_dir="./checkpoints")
    ```
    """

    def __init__(
        self,
        model: keras.Model,
        learning_rate: float = default(1e-4),
        batch_size: int = default(8),
        max_seq_length: int = default(2048),
        gradient_accumulation_steps: int = default(1),
        *,
        config: TrainingConfig | None = None,
        tokenizer: Any | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        weight_mode: str = "loss",
        strategy: Any = "auto",
        on_callback_error: str = "raise",
        jit_compile: bool | None = None,
        auto_batch: bool = False,
        steps_per_execution: int = 1,
        allow_oversize: bool = False,
        **options: Any,
    ) -> None:
        if not isinstance(model, keras.Model):
            raise ConfigError(f"`model` must be a keras.Model; received {type(model).__name__}")
        if config is not None and not isinstance(config, TrainingConfig):
            raise ConfigError(f"`config` must be a TrainingConfig; received {shown(config)}")
        require_choice("weight_mode", weight_mode, ("loss", "learning_rate"))
        require_choice("on_callback_error", on_callback_error, ("raise", "warn"))
        for name, flag in (("auto_batch", auto_batch), ("allow_oversize", allow_oversize)):
            require_flag(name, flag)
        if jit_compile is not None:
            require_flag("jit_compile", jit_compile)
        for name, folder in (("data_dir", data_dir), ("cache_dir", cache_dir)):
            if folder is not None:
                require_path(name, folder)
        self.steps_per_execution = require_count("steps_per_execution", steps_per_execution)
        self.model = model
        arguments = {
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "max_seq_length": max_seq_length,
            "gradient_accumulation_steps": gradient_accumulation_steps,
        }
        base = getattr(model, "training_config", None) if config is None else config
        self.config = _merge_config(base, arguments, options)
        self.tokenizer = tokenizer
        self.data_dir, self.cache_dir = data_dir, cache_dir
        self.weight_mode, self.on_callback_error = weight_mode, on_callback_error
        self.jit_compile, self.auto_batch, self.allow_oversize = jit_compile, auto_batch, allow_oversize
        if strategy == "auto":
            strategy = strategy_of(model) or strategy
        self.replicas = Replicas(resolve_strategy(strategy))
        self.stages: list[CurriculumStage] = []
        self.callbacks: list[Any] = []
        self.optimizer: FunctionalOptimizer | None = None
        self._step_state: StepState | None = None
        self.progress = Progress()
        self._run_id = uuid.uuid4().hex[:8]
        self._epochs_per_stage = self._default_epochs
        self._prepared: tuple[TrainingPlan, list[StageData]] | None = None
        self._loaded_from: pathlib.Path | None = None
        self._run: TrainingRun | None = None
        self.held_folders = HeldFolders()

    @property
    def _default_epochs(self) -> int:
        """Epochs of stages that say no length, where `train` does not say them either."""
        return self.config.epochs if is_given(self.config.epochs) else DEFAULT_EPOCHS_PER_STAGE

    @property
    def rows_per_step(self) -> int:
        """Rows in one optimizer step of all replicas."""
        per_replica = self.config.batch_size * self.config.gradient_accumulation_steps
        return self.config.global_batch_size or per_replica * self.replicas.count

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
        **config_overrides: Any,
    ) -> Trainer:
        """Adds a stage after those already there; see `CurriculumStage` for the arguments.

        Returns:
            The trainer itself, so that calls can be chained.

        Raises:
            ConfigError: the stage is not possible, or its name is taken.
        """
        return self._add_stage(
            CurriculumStage(
                name,
                datasets,
                epochs,
                weight,
                config_overrides,
                steps,
                scheduler,
                tokens,
                balance,
                max_repeats,
                optional,
            )
        )

    def add_task_mix(
        self,
        tasks: Mapping[str, Any],
        stages: Sequence[Mapping[str, Any]],
        optional: Sequence[str] = (),
        max_iters: int | None = None,
    ) -> Trainer:
        """Adds stages that mix tasks in shares of their own; see `task_mix_stages` for the arguments.

        Raises:
            ConfigError: a task without data, weights that do not sum to one, or lengths that do not fit.
        """
        for stage in task_mix_stages(tasks, stages, optional, max_iters):
            self._add_stage(stage)
        return self

    def add_sequence_length_stages(
        self, name: str, datasets: Any, lengths: Sequence[int], **arguments: Any
    ) -> Trainer:
        """Adds one stage for each row length, of as many tokens a step; see `sequence_length_stages`.

        Raises:
            ConfigError: lengths that do not grow, or do not divide the tokens of a step.
        """
        for stage in sequence_length_stages(name, datasets, lengths, self.config, **arguments):
            self._add_stage(stage)
        return self

    def _add_stage(self, stage: CurriculumStage) -> Trainer:
        name = stage.name
        if any(other.name == name for other in self.stages):
            raise ConfigError(f"there already is a stage `{name}`; stages need distinct names")
        dataclasses.replace(self.config, **stage.config_overrides)
        self.stages.append(stage)
        self._prepared = None
        return self

    def add_callback(self, callback: Any) -> None:
        """Adds a `keras.callbacks.Callback`, or a function that is called with every event (a dict).

        The events and their keys stand at `highnoon.callbacks.EventCallback`.
        """
        CallbackGroup([callback])
        self.callbacks.append(callback)

    def plan(self, epochs_per_stage: int | None = None) -> TrainingPlan:
        """Tokenises the data and returns what a run would do; printing it shows a table.

        Raises:
            ConfigError: there are no stages, or a dataset, the tokenizer or the model do not fit.
        """
        epochs = self._epochs_per_stage
        if epochs_per_stage is not None and is_given(epochs_per_stage):
            epochs = require_count("epochs_per_stage", epochs_per_stage)
        if self._prepared is None or epochs != self._epochs_per_stage:
            self._prepared = self._prepare(epochs)
            self._epochs_per_stage = epochs
        return self._prepared[0]

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
        _check_run_arguments(
            counts={},
            flags={"extend": extend, "allow_plan_change": allow_plan_change},
            paths={"checkpoint_dir": checkpoint_dir},
            callbacks=(),
        )
        directory = pathlib.Path("checkpoints" if checkpoint_dir is None else checkpoint_dir)
        saved = self._saved_state(_resume_path(resume_from, directory))
        epochs = _asked_epochs(epochs_per_stage, None)
        if epochs is None and saved is not None:
            epochs = saved["epochs_per_stage"]
        plan = self.plan(epochs)
        if saved and saved["run"]:
            self._accept_changes(plan, saved, extend, allow_plan_change, is_shown=self.replicas.is_chief)
        return self._preflight()

    def _preflight(self) -> Preflight:
        assert self._prepared is not None
        plan, stages = self._prepared
        return preflight(self.model, self.config, plan, stages, self.tokenizer, self.replicas.count)

    @releases_folders
    def train(
        self,
        epochs_per_stage: int | None = default(DEFAULT_EPOCHS_PER_STAGE),
        save_checkpoints: bool = True,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_interval: int = 1000,
        log_interval: int = 100,
        eval_interval: int = 500,
        resume_from: str | os.PathLike[str] | bool | None = None,
        *,
        callbacks: Sequence[Any] = (),
        log_dir: str | os.PathLike[str] | None = "logs",
        keep_checkpoints: int = 3,
        keep_every: int | None = None,
        verbose: bool = True,
        epochs: int | None = None,
        extend: bool = False,
        allow_plan_change: bool = False,
        restore_best: bool = False,
    ) -> dict[str, Any]:
        """Trains through all stages.

        A stage ends after its epochs or steps, or early, once its held-out loss has not improved for
        `early_stopping_patience` epochs.

        Args:
            epochs_per_stage: Epochs of stages that set neither epochs nor steps. Where it is not given, or
                None, a resumed run keeps the number that it began with, and a new run takes
                `TrainingConfig.epochs` if that was given, or 10.
            save_checkpoints: Whether to write checkpoints at all.
            checkpoint_dir: Where; None means `./checkpoints`. It is locked while the run writes there.
                Checkpoints of another run that lie there are moved into a folder `run_<id>` beside the new
                ones.
            checkpoint_interval: Optimizer steps between checkpoints; the end of the run is saved too.
            log_interval: Optimizer steps between log points.
            eval_interval: Optimizer steps between evaluations within an epoch; every epoch's end has one.
            resume_from: A checkpoint folder, a directory of them, or its `latest`, `best`, `final` or
                `interrupted`; True takes the highest step in `checkpoint_dir`, or begins where there is none.
                Without stages of its own the trainer takes those of the checkpoint.
            callbacks: More callbacks, for this call only.
            log_dir: Where TensorBoard events and `metrics.jsonl` go, in a folder of the run's id; None
                writes neither.
            keep_checkpoints: How many of the newest checkpoints stay, beside the best, the final and an
                interrupted one.
            keep_every: Steps of which every multiple stays too.
            verbose: Whether to print the plan and show progress.
            epochs: Another name for `epochs_per_stage`; give one of them.
            extend: Whether a resumed run may be longer than it was begun: more epochs, steps or stages.
                The learning rate then follows the schedule of the longer run. A run that ended early
                continues its last stage.
            allow_plan_change: Whether a resumed run may differ in anything from the one that was begun.
            restore_best: Whether the model ends with the weights of the lowest held-out loss, as with
                `restore_best_weights` of `keras.callbacks.EarlyStopping`, in place of those of the last
                step. Losses on different held-out data are not compared: with stages of different data it
                is the best of the last such stage. Without checkpoints a copy is kept in memory.

        Returns:
            `total_steps`; `stages_completed`: a list of dicts with `name`, `epochs` (really run),
            `final_loss` (mean of the last epoch, nats a token), `val_loss` and `steps`; `weights`, which says
            whose the model's are: `"last"`, `"best"` or set by a `"callback"`; and `best_step` and
            `best_val_loss`, both None without a finite held-out loss.

        Raises:
            ConfigError: an argument out of its range, no stages, or data, tokenizer and model do not fit one
                another (see `preflight`).
            CheckpointError: `resume_from` is no checkpoint or one of another model or plan, or a checkpoint
                cannot be written.
            FolderLockedError: another run is writing `checkpoint_dir`, or the log folder of the run that is
                resumed.
            FloatingPointError: too many steps in a row had a loss or gradient that is not finite, no step
                could be taken, or the weights are not finite at the end.
            KeyboardInterrupt: Ctrl-C, after saving.
        """
        _check_run_arguments(
            counts={
                "checkpoint_interval": checkpoint_interval,
                "log_interval": log_interval,
                "eval_interval": eval_interval,
                "keep_checkpoints": keep_checkpoints,
                "keep_every": keep_every,
            },
            flags={
                "save_checkpoints": save_checkpoints,
                "extend": extend,
                "allow_plan_change": allow_plan_change,
                "restore_best": restore_best,
            },
            paths={"checkpoint_dir": checkpoint_dir, "log_dir": log_dir},
            callbacks=callbacks,
        )
        epochs = _asked_epochs(epochs_per_stage, epochs)
        directory = pathlib.Path("checkpoints" if checkpoint_dir is None else checkpoint_dir)
        if save_checkpoints and self.replicas.is_chief:
            self.held_folders.hold(directory, "wait until it ends, or choose another `checkpoint_dir`")
        saved = self._saved_state(_resume_path(resume_from, directory))
        if epochs is None:
            epochs = saved["epochs_per_stage"] if saved else self._default_epochs
        plan = self.plan(epochs)
        assert self._prepared is not None
        is_chief = self.replicas.is_chief
        if saved and saved["run"]:
            self._accept_changes(plan, saved, extend, allow_plan_change, is_shown=verbose and is_chief)
        before = self._preflight()
        if before.problems:
            raise ConfigError("; ".join(before.problems))
        if restore_best and all(data.validation_rows is None for data in self._prepared[1]):
            raise ConfigError("`restore_best` compares held-out losses, and no stage holds a document out")
        schedule = self._start(plan, saved, may_continue=extend or allow_plan_change)
        best = self._best_weights(directory, save_checkpoints, saved) if restore_best else None
        assert self.optimizer is not None and self._step_state is not None
        if save_checkpoints and is_chief:
            checkpoint.set_aside_older_run(directory, self._run_id)
        if verbose and is_chief:
            print_text(plan)
            for warning in before.warnings:
                print_text(f"warning: {warning}")
            if saved:
                print_text(checkpoint.explain_choice(saved["folder"]))
            if self.progress.ended_early(plan.stages[-1], len(plan.stages)):
                print_text(
                    f"the run ended early, at step {self.progress.step:,} of {plan.total_steps:,}; "
                    "train(extend=True) or --extend continues its last stage"
                )
        run_folder = None if log_dir is None else pathlib.Path(log_dir) / self._run_id
        if run_folder is not None and is_chief:
            self.held_folders.hold(run_folder, "wait until it ends, or choose another `log_dir`")
        self._run = TrainingRun(
            model=self.model,
            optimizer=self.optimizer,
            schedule=schedule,
            step_state=self._step_state,
            replicas=self.replicas,
            stages=self._prepared[1],
            plan=plan,
            progress=self.progress,
            callbacks=self._callback_group(callbacks, run_folder, verbose),
            intervals=Intervals(log_interval, eval_interval, checkpoint_interval),
            config=self.config,
            jit_compile=self.jit_compile,
            writer=CheckpointWriter(directory, keep_checkpoints, keep_every) if save_checkpoints else None,
            capture=self._capture,
            find_sound=lambda: find_sound_checkpoint(directory, self._run_id),
            go_back=lambda folder: self._restore({**checkpoint.read_state(folder), "folder": folder}),
            restore_best=best,
            restore_end=self._restore_end(saved),
            auto_batch=self.auto_batch,
            steps_per_execution=self.steps_per_execution,
            run_id=self._run_id,
            explain_memory=lambda error: describe_out_of_memory(before, error),
            skipped_folder=run_folder / "skipped_steps" if run_folder and is_chief else None,
        )
        # Keras callbacks read `model.optimizer`; `model.save_weights` later must not drag its slots along.
        own_optimizer = self.model.optimizer
        self.model.optimizer = self.optimizer
        try:
            with watch_peers(self.replicas):
                summary = self._run.run(saved["run"]["callbacks"] if saved and saved["run"] else ())
        finally:
            self.model.optimizer = own_optimizer
        return summary

    def evaluate(self) -> dict[str, float]:
        """Returns `loss` (nats a token), `perplexity` and `bits_per_byte` over all held-out documents.

        Raises:
            ConfigError: nothing is held out.
        """
        self.plan()
        assert self._prepared is not None
        distinct = {data.data_key: data for data in self._prepared[1] if data.validation_rows is not None}
        if not distinct:
            raise ConfigError(
                "no stage has a held-out document; add more documents or raise `validation_split`"
            )
        self._place_model()
        validate = EvaluationStep(self.model, self.replicas)
        split = functools.reduce(
            operator.add, (validate(data.validation_batches()) for data in distinct.values())
        )
        num_bytes = sum(
            data.validation_rows.num_bytes for data in distinct.values() if data.validation_rows is not None
        )
        return {
            "loss": split.loss,
            "perplexity": split.perplexity,
            "bits_per_byte": split.bits_per_byte(num_bytes),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes model, tokenizer, optimizer, stages and progress into one folder, whole or not at all.

        `Trainer.load(path, model)` and `highnoon.load_model(path)` read it.

        Raises:
            CheckpointError: the folder cannot be written, or holds something else.
        """
        checkpoint.require_own_folder(pathlib.Path(path))
        checkpoint.write_folder(pathlib.Path(path), self._capture())

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: keras.Model) -> Trainer:
        """Returns the trainer saved at `path`, and gives `model` its weights.

        `train()` on it goes on where the saved one stood.

        Raises:
            CheckpointError: `path` is no saved trainer, or one of another model.
        """
        folder = checkpoint.find_checkpoint(path)
        state = checkpoint.read_state(folder)
        trainer = cls(
            model, config=TrainingConfig(**state["training_config"]), weight_mode=state["weight_mode"]
        )
        trainer._adopt(folder, state)
        snapshot.restore_model(model, folder)
        return trainer

    def _prepare(self, epochs: int) -> tuple[TrainingPlan, list[StageData]]:
        if not self.stages:
            raise ConfigError("there is nothing to train on; call add_curriculum_stage(name, datasets) first")
        require_trainable(self.model)
        require_memory(self.model, self.config, self.allow_oversize)
        configs = [self._stage_config(stage) for stage in self.stages]
        require_memory_for_rows(configs, self.replicas.count, self.allow_oversize)
        sources = open_stage_sources(self.stages, self.data_dir)
        self.tokenizer, note = choose_tokenizer(
            self.model, self.tokenizer, sources, self.config.validation_split
        )
        if hasattr(self.model, "tokenizer"):
            self.model.tokenizer = self.tokenizer
        preparation = StagePreparation(self._packs_rows, self.tokenizer, self.cache_dir, self.replicas.count)
        data = [
            preparation.prepare(stage, opened, config, self.config.seed + index)
            for index, (stage, opened, config) in enumerate(zip(self.stages, sources, configs, strict=True))
        ]
        notes = [note] if note else []
        seconds = self._seconds_per_token(data)
        return make_plan(data, self.config, epochs, self.weight_mode, notes, seconds), data

    @property
    def _packs_rows(self) -> bool:
        """Whether the model can tell documents in one row apart."""
        return hasattr(self.model, "loss_terms")

    def _seconds_per_token(self, stages: Sequence[StageData]) -> dict[int, float]:
        """What a token would take if nothing but its products cost time, by row length."""
        lengths = {data.config.max_seq_length for data in stages}
        flops = {length: flops_per_token(self.model, length) for length in lengths}
        if any(count is None for count in flops.values()):
            return {}
        peak = self.replicas.count * measure_peak_flops(self.model.compute_dtype)
        return {length: count / peak for length, count in flops.items() if count is not None}

    def _stage_config(self, stage: CurriculumStage) -> TrainingConfig:
        config = dataclasses.replace(self.config, **stage.config_overrides)
        rate = scaled_learning_rate(config.learning_rate, self.replicas.count, config.learning_rate_scaling)
        config = dataclasses.replace(config, learning_rate=rate)
        longest = getattr(self.model, "max_seq_length", None) or config.max_seq_length
        return dataclasses.replace(config, max_seq_length=min(config.max_seq_length, longest))

    def _saved_state(self, resume_from: str | os.PathLike[str] | None) -> dict[str, Any] | None:
        """Returns the state to go on from, its folder under `folder`; None for a new run."""
        if resume_from is None and self._loaded_from is None:
            return None
        folder = self._loaded_from if resume_from is None else checkpoint.find_checkpoint(resume_from)
        assert folder is not None
        state = checkpoint.read_state(folder)
        snapshot.require_same_model(self.model, folder)
        self._adopt(folder, state)
        return {**state, "folder": folder}

    def _adopt(self, folder: pathlib.Path, state: dict[str, Any]) -> None:
        """Takes over a saved run's identity, tokenizer and, where this trainer has none, its stages."""
        self._run_id = state["run_id"]
        self._epochs_per_stage = state["epochs_per_stage"]
        self._loaded_from = folder
        self._prepared = None
        if self.tokenizer is None:
            self.tokenizer = snapshot.read_tokenizer(folder)
        if not self.stages:
            self.stages = [snapshot.stage_from_dict(values) for values in state["stages"]]

    def _start(self, plan: TrainingPlan, saved: dict[str, Any] | None, may_continue: bool) -> RunSchedule:
        """Makes the optimizer and its schedule, and puts a saved run's arrays and position back.

        Args:
            plan: The plan.
            saved: The state of the run to resume, None for a new one.
            may_continue: Whether a run that has ended before its plan's last step takes the steps that are
                left.
        """
        self._loaded_from = None
        self.progress = Progress()
        self._place_model()
        with self.replicas.strategy.scope():
            schedule = RunSchedule(
                peaks=[stage.learning_rate for stage in plan.stages],
                stage_ends=plan.stage_ends,
                warmup_steps=plan.warmup_steps,
                decay=self.config.schedule,
                min_ratio=self.config.min_learning_rate_ratio,
                decay_ratio=self.config.decay_ratio,
            )
            self._step_state = StepState()
            self.optimizer = make_optimizer(self.model, self.config, schedule)
        if saved is None:
            self._run_id = uuid.uuid4().hex[:8]
        elif saved["run"] is None:
            snapshot.restore_model(self.model, saved["folder"])
        else:
            self.progress = self._restore(saved)
            is_over = self.progress.stage == len(self.stages)
            # One that stopped early is over too: started again by the same command it takes no step.
            if may_continue and is_over and plan.total_steps > self.progress.step:
                self.progress.reopen_last_stage()
        return schedule

    def _best_weights(
        self, directory: pathlib.Path, save_checkpoints: bool, saved: dict[str, Any] | None
    ) -> BestWeights:
        """Returns what restores the best; a resumed run's best so far must be there.

        Raises:
            CheckpointError: it is not.
        """
        assert self.optimizer is not None
        step = self.progress.lowest_val_step
        places = [directory] if save_checkpoints else []
        if saved is not None and saved["folder"].parent.resolve() != directory.resolve():
            places.append(saved["folder"].parent)
        best = BestWeights(self.model, self.optimizer, places, self._run_id)
        folder = None if step is None else best.require(step)
        if save_checkpoints:
            return best
        best = BestWeights(self.model, self.optimizer, [], self._run_id)
        if folder is not None:
            best.load(folder)
        return best

    def _restore_end(self, saved: dict[str, Any] | None) -> Callable[[], None] | None:
        """Returns what gives the model the weights that a callback set at the end of an ended run."""
        progress = self.progress
        if saved is None or progress.stage < len(self.stages) or progress.ended_with != "callback":
            return None
        return functools.partial(snapshot.restore_model, self.model, saved["folder"])

    def _place_model(self) -> None:
        """Puts the model under the strategy, if it is not."""
        self.replicas.adopt(all_variables(self.model))

    def _restore(self, saved: dict[str, Any]) -> Progress:
        """Gives model, optimizer, step and schedulers a checkpoint's state; returns its progress."""
        assert self.optimizer is not None and self._step_state is not None
        snapshot.restore(self.model, self.optimizer, self._step_state, saved["folder"])
        # Stages that were added since have no state yet.
        for stage, state in zip(self.stages, saved["run"]["schedulers"], strict=False):
            if state is not None and stage.scheduler is not None:
                _load_scheduler(stage, state, saved["folder"])
        progress = Progress(**saved["run"]["progress"])
        if progress.lowest_val_loss is not None and progress.lowest_val_step is None:
            # Written before the step was noted: the role tells it.
            best = _best_of_older_version(saved["folder"].parent)
            step = progress.step + 1 if best is None else int(best.name.removeprefix("step_"))
            if step <= progress.step:
                progress.lowest_val_step = step
            else:
                progress.lowest_val_loss = None
        return progress

    def _callback_group(
        self, callbacks: Sequence[Any], run_folder: pathlib.Path | None, verbose: bool
    ) -> CallbackGroup:
        own: list[Any] = []
        if self.replicas.is_chief:
            own += [ProgressBar()] if verbose else []
            if run_folder is not None:
                own += [MetricsFile(run_folder / "metrics.jsonl"), TensorBoardLog(run_folder)]
        given = [*self.callbacks, *callbacks]
        # On every worker: what an alert does must be done by all of them.
        own += [] if any(isinstance(callback, Alerts) for callback in given) else [Alerts()]
        group = CallbackGroup([*own, *given], self.on_callback_error)
        assert self._prepared is not None
        total = self._prepared[0].total_steps
        group.set_model(self.model, {"verbose": int(verbose), "epochs": None, "steps": total})
        return group

    def _capture(self) -> Callable[[pathlib.Path], None]:
        return snapshot.capture(
            self.model,
            self.optimizer,
            self._step_state,
            self.tokenizer,
            {
                "run_id": self._run_id,
                "epochs_per_stage": self._epochs_per_stage,
                "weight_mode": self.weight_mode,
                "training_config": self.config.to_dict(),
                "packing": self._packs_rows,
                "data_dir": None if self.data_dir is None else os.path.abspath(self.data_dir),
                "stages": [stage.to_dict() for stage in self.stages],
                "plan": self._prepared[0].to_dict() if self._prepared else None,
                "run": self._run.state() if self._run else None,
            },
            self._run.trained_weights() if self._run else None,
        )

    def _accept_changes(
        self, plan: TrainingPlan, saved: dict[str, Any], extend: bool, allow_plan_change: bool, is_shown: bool
    ) -> None:
        """Refuses a plan that differs from the saved one in more than is allowed, and shows what differs."""
        of_config = config_changes(self.config.to_dict(), saved["training_config"])
        changes = plan.changes(saved["plan"], extend) + of_config
        refused = [] if allow_plan_change else [c for c in changes if not (extend and c.is_extension)]
        if refused:
            if_extended = plan.changes(saved["plan"], extends=True) + of_config
            lengthens = all(change.is_extension for change in if_extended)
            remedy = "train(extend=True)" if lengthens else "train(allow_plan_change=True)"
            raise checkpoint.CheckpointError(
                f"the run in {saved['folder']} followed another plan: {'; '.join(map(str, refused))}. Go on "
                "with the stages, data and options that it began with, start a new run without "
                f"`resume_from`, or take the change over with {remedy}"
            )
        if is_shown:
            for change in changes:
                print_text(f"changed: {change}")


def _load_scheduler(stage: CurriculumStage, state: Any, folder: pathlib.Path) -> None:
    assert stage.scheduler is not None
    try:
        stage.scheduler.load_state_dict(state)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise checkpoint.CheckpointError(
            f"{folder} is damaged: the state of the scheduler of stage `{stage.name}` cannot be read "
            f"({shown(str(error))}); choose another checkpoint"
        ) from error


def _best_of_older_version(directory: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder that `best` names, None where none is named; one that is damaged is warned about."""
    try:
        return checkpoint.folder_of(directory, checkpoint.BEST)
    except checkpoint.DamagedPointerError as error:
        warnings.warn(f"the best step so far is not known: {error}", stacklevel=2)
        return None


def _merge_config(
    base: TrainingConfig | None, arguments: dict[str, Any], options: dict[str, Any]
) -> TrainingConfig:
    """Lays arguments that were given, and options, over the base.

    Raises:
        ConfigError: an unknown option, a value out of its range, or one field under two names.
    """
    known = {field.name for field in dataclasses.fields(TrainingConfig)}
    given = {name: value for name, value in arguments.items() if is_given(value)}
    values = resolve_keys(given | options, known, "Trainer")
    if base is None:
        base = dataclasses.replace(TrainingConfig(warmup_steps=None), **arguments)
    return dataclasses.replace(base, **values)


def _asked_epochs(epochs_per_stage: int | None, epochs: int | None) -> int | None:
    """Returns the epochs that a caller of `train` gave under either name; None for none.

    Raises:
        ConfigError: both names are given, or a number below 1.
    """
    given = {
        name: require_count(name, value)
        for name, value in (("epochs_per_stage", epochs_per_stage), ("epochs", epochs))
        if value is not None and is_given(value)
    }
    if len(given) > 1:
        raise ConfigError(
            f"`epochs_per_stage` and `epochs` name the same number; received {epochs_per_stage} and "
            f"{epochs}, give one of them"
        )
    return next(iter(given.values()), None)


def _resume_path(
    resume_from: str | os.PathLike[str] | bool | None, directory: pathlib.Path
) -> str | os.PathLike[str] | None:
    """Returns the checkpoint to resume from; None for a new run.

    Raises:
        ConfigError: `resume_from` is neither a path nor a bool.
    """
    if resume_from is None or resume_from is False:
        return None
    if resume_from is not True:
        return require_path("resume_from", resume_from)
    if checkpoint.step_folders(directory):
        return directory
    print_text(f"no checkpoint in {directory} yet: a new run begins")
    return None


def _check_run_arguments(
    counts: Mapping[str, Any], flags: Mapping[str, Any], paths: Mapping[str, Any], callbacks: Any
) -> None:
    """Checks the arguments of `train` by kind.

    Raises:
        ConfigError: one of them has another type, or is out of its range.
    """
    for name, value in counts.items():
        if not (name == "keep_every" and value is None):
            require_count(name, value)
    for name, value in flags.items():
        require_flag(name, value)
    for name, value in paths.items():
        if value is not None:
            require_path(name, value)
    if not isinstance(callbacks, (list, tuple)):
        raise ConfigError(f"`callbacks` must be a list of callbacks; received {shown(callbacks)}")
