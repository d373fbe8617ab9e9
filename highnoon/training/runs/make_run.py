"""Puts a run together: learner, progress, checkpoints, callbacks."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.callbacks import Alerts, CallbackGroup, MetricsFile, ProgressBar, TensorBoardLog
from highnoon.files.notebook import in_notebook, show_in_notebook
from highnoon.files.print_text import print_text
from highnoon.training.checkpoints import checkpoint, snapshot
from highnoon.training.checkpoints.run_checkpoints import Checkpoints, RunIdentity
from highnoon.training.checkpoints.saved_run import SavedRun
from highnoon.training.evaluators import Evaluator
from highnoon.training.learner import Learner
from highnoon.training.plans.prepared_run import PreparedRun
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.preflight.preflight import Preflight
from highnoon.training.runs.best_weights import BestWeights
from highnoon.training.runs.held_folders import HeldFolders
from highnoon.training.runs.progress import Progress
from highnoon.training.runs.run import TrainingRun
from highnoon.training.runs.run_arguments import RunArguments
from highnoon.training.runs.run_description import run_hparams
from highnoon.training.runs.run_state import EvaluationLimits, RunSettings
from highnoon.training.runs.running_figures import RunningFigures


@dataclasses.dataclass(frozen=True)
class RunParts:
    """What a run is made of.

    Args:
        learner: Model and optimizer, as they are before the first step.
        stages: The stages.
        prepared: Their plan and data.
        memory: What the run was found to need.
        saved: What it resumes from; None for a new run.
        arguments: Those of `Trainer.train`.
        identity: What each checkpoint says of the run, `run_id` among it.
        callbacks: Of the trainer.
        on_callback_error: `"raise"` or `"warn"`.
        steps_per_execution: Most steps in one call of the device.
        evaluators: Of the trainer.
        held_folders: Locks the folders that the run writes.
    """

    learner: Learner
    stages: Sequence[CurriculumStage]
    prepared: PreparedRun
    memory: Preflight
    saved: SavedRun | None
    arguments: RunArguments
    identity: Mapping[str, Any]
    callbacks: Sequence[Any]
    on_callback_error: str
    steps_per_execution: int
    evaluators: Sequence[Evaluator]
    held_folders: HeldFolders

    @property
    def run_id(self) -> str:
        return str(self.identity["run_id"])

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what is written once."""
        return self.learner.replicas.is_chief

    @functools.cached_property
    def progress(self) -> Progress:
        """Where the run begins: reading it gives the learner what was saved."""
        saved = self.saved
        if saved is None:
            return Progress()
        if not saved.has_begun:
            snapshot.restore_model(self.learner.model, saved.folder)
            return Progress()
        progress = saved.restore(self.learner, self.stages)
        is_over = progress.stage == len(self.stages)
        # One that stopped early is over too: started again by the same command it takes no step.
        if self.arguments.may_continue and is_over and self.prepared.plan.total_steps > progress.step:
            progress.reopen_last_stage()
        return progress

    @functools.cached_property
    def running(self) -> RunningFigures | None:
        """The figures of the progress bar; None where none is shown."""
        return RunningFigures() if self.arguments.verbose and self.is_chief else None

    @functools.cached_property
    def log_folder(self) -> pathlib.Path | None:
        """Where the run's events go, locked by this process if it writes them; None for nowhere."""
        if self.arguments.log_dir is None:
            return None
        # A run of an older version has a folder of its id.
        folder = pathlib.Path(self.arguments.log_dir) / (self.identity["run_folder"] or self.run_id)
        if self.is_chief:
            self.held_folders.hold(folder, "wait until it ends, or choose another `log_dir`")
        return folder

    def make(self) -> TrainingRun:
        """Returns the run.

        Raises:
            CheckpointError: the saved run cannot be restored, or its best weights are not there.
            FolderLockedError: another run is writing the log folder.
        """
        progress, learner, arguments = self.progress, self.learner, self.arguments
        learner.has_histograms = arguments.histograms
        best = self._best_weights() if arguments.restore_best else None
        if arguments.save_checkpoints and self.is_chief:
            # By the holder of the folder alone: another worker would remove what the chief is writing.
            checkpoint.clear_leftovers(arguments.directory)
            moved_to = checkpoint.set_aside_older_run(arguments.directory, self.run_id)
            if moved_to is not None and arguments.verbose:
                print_text(
                    f"note: {arguments.directory} had checkpoints of another run; they are in {moved_to} "
                    "now. To continue that run, stop this one and resume from there: "
                    f"resume_from={str(moved_to)!r}, on the command line --resume {moved_to}"
                )
        self._show_start()
        is_over = progress.stage == len(self.stages) and progress.ended_with == "callback"
        folder = self.log_folder
        settings = RunSettings(
            config=learner.config,
            run_id=self.run_id,
            run_name=self.identity["run_name"],
            log_folder=folder,
            running=self.running,
            intervals=arguments.intervals,
            steps_per_execution=self.steps_per_execution,
            skipped_folder=folder / "skipped_steps" if folder and self.is_chief else None,
            memory=self.memory,
            evaluators=[*self.evaluators, *arguments.evaluators],
            limits=EvaluationLimits(arguments.validation_steps, arguments.validation_batch_size),
        )
        callbacks = self._callback_group(folder)
        checkpoints = Checkpoints(
            learner,
            RunIdentity(self.stages, self.identity, self.prepared.tokenizer),
            arguments.directory,
            arguments.checkpoint_writer(),
            best,
            self.saved.folder if self.saved is not None and is_over else None,
        )
        data, plan = self.prepared.data, self.prepared.plan
        return TrainingRun(learner, data, plan, progress, callbacks, checkpoints, settings)

    def _best_weights(self) -> BestWeights:
        """Returns what restores the best; a resumed run's best so far must be there.

        Raises:
            CheckpointError: it is not.
        """
        saved, directory, step = self.saved, self.arguments.directory, self.progress.lowest_val_step
        folders = [directory] if self.arguments.save_checkpoints else []
        if saved is not None and saved.folder.parent.resolve() != directory.resolve():
            folders.append(saved.folder.parent)
        best = BestWeights(self.learner, folders, self.run_id)
        folder = None if step is None else best.require(step)
        if self.arguments.save_checkpoints:
            return best
        in_memory = BestWeights(self.learner, [], self.run_id)
        if folder is not None:
            in_memory.load(folder)
        return in_memory

    def _callback_group(self, log_folder: pathlib.Path | None) -> CallbackGroup:
        own: list[Any] = []
        if self.is_chief:
            own += [] if self.running is None else [ProgressBar(self.running.read)]
            if log_folder is not None:
                hparams = run_hparams(self.learner.model, self.learner.config, self.prepared.plan)
                texts = {"plan": self.prepared.plan.to_markdown()}
                own += [
                    MetricsFile(log_folder / "metrics.jsonl"),
                    TensorBoardLog(log_folder, hparams, texts),
                ]
        given = [*self.callbacks, *self.arguments.callbacks]
        # On every worker: what an alert does must be done by all of them.
        own += [] if any(isinstance(callback, Alerts) for callback in given) else [Alerts()]
        group = CallbackGroup([*own, *given], self.on_callback_error)
        plan, verbose = self.prepared.plan, int(self.arguments.verbose)
        epochs = sum(span["epochs"] for stage in plan.stages for span in stage.timeline)
        group.set_model(self.learner.model, {"verbose": verbose, "epochs": epochs, "steps": plan.total_steps})
        return group

    def _show_start(self) -> None:
        """Prints the plan, and where a resumed run continues."""
        if not (self.arguments.verbose and self.is_chief):
            return
        plan = self.prepared.plan
        show_in_notebook(plan) if in_notebook() else print_text(plan)
        for warning in self.memory.warnings:
            print_text(f"warning: {warning}")
        if self.saved is not None:
            print_text(checkpoint.explain_choice(self.saved.folder))
        if self.progress.ended_early(plan.stages[-1], len(plan.stages)):
            print_text(
                f"the run ended early, at step {self.progress.step:,} of {plan.total_steps:,}; "
                "train(extend=True) or --extend continues its last stage"
            )
