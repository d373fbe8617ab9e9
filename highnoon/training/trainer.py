"""The Trainer: stages in, a trained model and its checkpoints out."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from highnoon.config import (
    ConfigError,
    TrainingConfig,
    default,
    require_choice,
    require_count,
    require_flag,
    require_path,
    shown,
)
from highnoon.config.known_arguments import known_arguments
from highnoon.models.loading import load_model
from highnoon.training.checkpoints import checkpoint, snapshot
from highnoon.training.checkpoints.saved_run import SavedRun
from highnoon.training.distributed import resolve_strategy
from highnoon.training.evaluators import evaluators_from_config
from highnoon.training.learner import Learner
from highnoon.training.objective import objective_from_config
from highnoon.training.optimizers import FunctionalOptimizer, StatelessOptimizer
from highnoon.training.plans.prepared_run import PreparedRun
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.runs.held_folders import HeldFolders, releases_folders
from highnoon.training.runs.history import copy_of
from highnoon.training.runs.make_run import RunParts
from highnoon.training.runs.progress import Progress
from highnoon.training.runs.run import TrainingRun
from highnoon.training.runs.run_arguments import RunArguments, asked_epochs
from highnoon.training.steps.replicas import Replicas, strategy_of, watch_peers
from highnoon.training.trainable_weights import require_float32
from highnoon.training.trainer_config import merge_config
from highnoon.training.trainer_preparation import TrainerPreparation
from highnoon.training.trainer_stages import DEFAULT_EPOCHS_PER_STAGE

__all__ = ["CurriculumStage", "Trainer"]


class Trainer(TrainerPreparation):
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
        cache_dir: Where tokenized data is stored; None takes `HIGHNOON_CACHE` or the user's cache.
        weight_mode: What a stage's `weight` multiplies: `"loss"` (which AdamW nearly cancels) or
            `"learning_rate"`.
        strategy: `"auto"`, or a synchronous `tf.distribute.Strategy`: `"auto"` takes the one under which the
            model was made or whose scope is open, else all workers of the environment, else all GPUs, see
            `highnoon.training.distributed.resolve_strategy`. A model made elsewhere is moved under it.
        on_callback_error: `"raise"` ends the run in order, saved, when a callback raises; `"warn"` continues.
        jit_compile: Whether XLA compiles the forward and backward pass, see `TrainStep`; None does so
            for this package's models and leaves others alone.
        auto_batch: Whether a call of one step, as the first is, that does not fit into memory is tried with
            micro-batches of half the size, at the same global batch.
        steps_per_execution: Most optimizer steps in one call of the device, as in Keras's `compile`. The
            weights are the same for any, unless skipped steps are answered, which happens between calls. A
            call ends at each log point, evaluation and checkpoint; Keras's batch hooks and `step_end` come
            once a call, and so does an answer to a signal.
        allow_oversize: Whether to start though weights, gradients and slots exceed the machine's memory.
        objective: What stages minimize that name no objective of their own: an `Objective`, the name of
            one, or a mapping of `name` and its arguments. None is `"next_token"`.
        evaluators: Further figures at each evaluation: `Evaluator` objects, names of registered ones, or
            mappings of `name` and arguments.
        optimizer: `"adamw"`, `"adafactor"`, `"lion"` or `"muon"`, under the learning rate and clipping of the
            configuration; or an optimizer of Keras, as an object, a name or a mapping of `class_name` and
            `config`, which brings its own learning rate or schedule, decay, clipping and average.
        **options: Further `TrainingConfig` fields, such as `warmup_steps=100`.

    Attributes:
        learner_class: Makes the learner of a run; a subclass of `Learner` for steps of one's own.
        progress: Where the run is.

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

    learner_class: type[Learner] = Learner

    # Long for its arguments alone.
    @known_arguments(options=[field.name for field in dataclasses.fields(TrainingConfig)])
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
        objective: Any = None,
        evaluators: Sequence[Any] = (),
        optimizer: Any = None,
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
        data_dir = None if data_dir is None else require_path("data_dir", data_dir)
        cache_dir = None if cache_dir is None else require_path("cache_dir", cache_dir)
        arguments = {
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "max_seq_length": max_seq_length,
            "gradient_accumulation_steps": gradient_accumulation_steps,
        }
        options |= {} if optimizer is None else {"optimizer": optimizer}
        base = getattr(model, "training_config", None) if config is None else config
        strategy = strategy_of(model) or strategy if strategy == "auto" else strategy
        super().__init__(
            model,
            merge_config(base, arguments, options, model=model, is_base_given=config is not None),
            replicas=Replicas(resolve_strategy(strategy)),
            objective=objective_from_config(objective),
            tokenizer=tokenizer,
            data_dir=data_dir,
            cache_dir=cache_dir,
            weight_mode=weight_mode,
            allow_oversize=allow_oversize,
        )
        self.evaluators = evaluators_from_config(evaluators)
        self.on_callback_error, self.jit_compile, self.auto_batch = on_callback_error, jit_compile, auto_batch
        self.steps_per_execution = require_count("steps_per_execution", steps_per_execution)
        self.held_folders = HeldFolders()
        self.progress = Progress()
        self._run: TrainingRun | None = None  # the last one, which `save` writes

    @property
    def optimizer(self) -> FunctionalOptimizer | StatelessOptimizer | None:
        """The optimizer of the last run, made from the configuration; None before one."""
        return None if self._run is None else self._run.learner.optimizer

    @property
    def history(self) -> dict[str, list[Any]]:
        """The figures of each epoch, as lists of equal length: `stage`, `epoch`, `step`, `loss`, `val_loss`,
        `learning_rate`, and those of the evaluation at its end, such as `val_accuracy`; None for none."""
        return copy_of(self.progress.history)

    # Long for its arguments and their documentation alone.
    @known_arguments
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
        evaluators: Sequence[Any] = (),
        validation_data: Any = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        run_name: str | None = None,
        histograms: bool = False,
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
                Checkpoints of another run that are there are moved into a folder `run_<id>` next to the
                new ones.
            checkpoint_interval: Optimizer steps between checkpoints; the end of the run is saved too.
            log_interval: Optimizer steps between log points.
            eval_interval: Optimizer steps between evaluations within an epoch; every epoch's end has one.
            resume_from: A checkpoint folder, a directory of them, or its `latest`, `best`, `final` or
                `interrupted`; True takes the highest step in `checkpoint_dir`, or begins where there is none.
                Without stages of its own the trainer takes those of the checkpoint.
            callbacks: More callbacks, for this call only.
            log_dir: Where TensorBoard events and `metrics.jsonl` go, in a folder of the run, such as
                `2026-11-27_121758_baseline`; None writes neither.
            keep_checkpoints: How many of the newest checkpoints are retained, besides the best, the final and
                an interrupted one.
            keep_every: Checkpoints of its multiples are retained too.
            verbose: Whether to print the plan and show progress.
            epochs: Another name for `epochs_per_stage`; give one of them.
            extend: Whether a resumed run may be longer than at its start: more epochs, steps or stages.
                The learning rate then follows the schedule of the longer run. A run that ended early
                continues its last stage.
            allow_plan_change: Whether a resumed run may differ in anything from the run at its start.
            restore_best: Whether the model ends with the weights of the lowest held-out loss, as with
                `restore_best_weights` of `keras.callbacks.EarlyStopping`, in place of those of the last
                step. Losses on different held-out data are not compared: with stages of different data it
                is the best of the last such stage. Without checkpoints a copy is in memory.
            evaluators: More evaluators, for this call only.
            validation_data: Held-out data of all stages that have none of their own, see
                `add_curriculum_stage`; None holds out `validation_split` of each stage's documents.
            validation_steps: Batches of an evaluation during the run at most; None takes about 2^18 tokens,
                an even sample. `evaluate` reads all.
            validation_batch_size: Rows of one replica in these batches; None for `batch_size`.
            run_name: What the run is called in its folder of logs and in `highnoon monitor`; None takes its
                id. A resumed run keeps its name and its folder.
            histograms: Whether TensorBoard gets histograms of gradients and weights at log points. There the
                device reads each of them twice more, and each adds 0.7 KB to the log.

        Returns:
            `total_steps`; `stages_completed`: a list of dicts with `name`, `epochs` (really run),
            `final_loss` (mean of the last epoch, nats a token), `val_loss` and `steps`; `weights`, which says
            whose the model's are: `"last"`, `"best"` or set by a `"callback"`; `best_step`, `best_val_loss`
            and `best_bits_per_byte`, None where they are not known; `total_tokens`, the supervised tokens of
            all epochs; and `history`, the figures of each epoch as lists, see `history`.

        Raises:
            ConfigError: an argument out of its range, no stages, weights of another type than float32, or
                data, tokenizer and model do not fit each other (see `preflight`).
            CheckpointError: `resume_from` is no checkpoint or one of another model or plan, or a checkpoint
                cannot be written.
            FolderLockedError: another run is writing `checkpoint_dir`, or the log folder of the run that is
                resumed.
            FloatingPointError: too many steps in a row had a loss or gradient that is not finite, no step
                could be taken, or the weights are not finite at the end.
            KeyboardInterrupt: Ctrl-C, after saving.
            RuntimeError: the weights of a frozen model of an objective changed.
        """
        arguments = RunArguments(
            save_checkpoints=save_checkpoints,
            checkpoint_dir=checkpoint_dir,
            checkpoint_interval=checkpoint_interval,
            log_interval=log_interval,
            eval_interval=eval_interval,
            resume_from=resume_from,
            callbacks=callbacks,
            log_dir=log_dir,
            keep_checkpoints=keep_checkpoints,
            keep_every=keep_every,
            verbose=verbose,
            extend=extend,
            allow_plan_change=allow_plan_change,
            restore_best=restore_best,
            evaluators=evaluators,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            run_name=run_name,
            histograms=histograms,
        )
        epochs = asked_epochs(epochs_per_stage, epochs)
        require_float32(self.model)
        self._shows_progress = verbose
        if save_checkpoints and self.replicas.is_chief:
            remedy = "wait until it ends, or choose another `checkpoint_dir`"
            self.held_folders.hold(arguments.directory, remedy)
        saved = self._resumed(arguments)
        self._hold_out(validation_data)
        prepared = self._prepare(self.default_epochs if epochs is None and saved is None else epochs, saved)
        memory = self._require_sound(prepared, saved, arguments)
        self._loaded = None
        self._label = arguments.label(saved, self._label, is_chief=self.replicas.is_chief)
        learner = self._make_learner(prepared)
        try:
            parts = RunParts(
                learner=learner,
                stages=self.stages,
                prepared=prepared,
                memory=memory,
                saved=saved,
                arguments=arguments,
                identity=self._identity(),
                callbacks=self.callbacks,
                on_callback_error=self.on_callback_error,
                steps_per_execution=self.steps_per_execution,
                evaluators=self.evaluators,
                held_folders=self.held_folders,
            )
            self._run = parts.make()
            self.progress = self._run.progress
            return self._follow(self._run, saved)
        finally:
            learner.release()

    @known_arguments
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes model, tokenizer, optimizer, stages and progress into one folder, completely or not at all.

        `Trainer.load(path, model)` and `highnoon.load_model(path)` read it.

        Raises:
            CheckpointError: the folder cannot be written, or holds something else.
        """
        folder = pathlib.Path(require_path("path", path))
        checkpoint.require_own_folder(folder)
        values = self._identity()
        if self._run is None:
            write = snapshot.capture(self.model, None, None, self.tokenizer, {**values, "run": None})
        else:
            run = self._run.state
            write = run.learner.capture(
                self.tokenizer, {**values, "run": run.to_dict()}, run.trained_weights()
            )
        checkpoint.write_folder(folder, write)

    @classmethod
    @known_arguments
    def load(cls, path: str | os.PathLike[str], model: keras.Model | None = None) -> Trainer:
        """Returns the trainer saved at `path`, and gives `model` its weights.

        `train()` on it continues where the saved one was. Without `model` the saved model is loaded.

        Raises:
            CheckpointError: `path` is no saved trainer, or one of another model.
            ModelFolderError: no `model`, and the saved one is of a class that is not registered.
        """
        saved = SavedRun.find(path)
        model = load_model(saved.folder) if model is None else model
        config = TrainingConfig(**saved.state["training_config"])
        trainer = cls(model, config=config, weight_mode=saved.state["weight_mode"])
        trainer._adopt(saved)
        snapshot.restore_model(model, saved.folder)
        return trainer

    def _make_learner(self, prepared: PreparedRun) -> Learner:
        with self.replicas.strategy.scope():
            schedule = prepared.schedule(self.config)
        return self.learner_class(
            self.model,
            self.config,
            schedule,
            self.replicas,
            jit_compile=self.jit_compile,
            auto_batch=self.auto_batch,
            objectives=[data.objective for data in prepared.data],
        )

    def _follow(self, run: TrainingRun, saved: SavedRun | None) -> dict[str, Any]:
        """Runs to the end and returns the summary."""
        self._run = run
        # Keras callbacks read `model.optimizer`; `model.save_weights` later must not include its slots.
        # A model that was never compiled has no such attribute, and is left without one.
        is_compiled = hasattr(self.model, "optimizer")
        own_optimizer = getattr(self.model, "optimizer", None)
        self.model.optimizer = run.learner.optimizer
        try:
            with watch_peers(self.replicas):
                return run.run(saved.callbacks if saved is not None else ())
        finally:
            if is_compiled:
                self.model.optimizer = own_optimizer
            else:
                del self.model.optimizer
