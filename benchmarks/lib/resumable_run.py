"""A training run with a folder of its own, which is read back or resumed."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras

import highnoon as hn

MODEL, FIGURES = "model", "figures.json"


class ResumableRun:
    """A training run whose model and figures remain in a folder.

    Args:
        folder: The folder of this run alone.
        settings: What the run depends on, as JSON; a finished run of other settings is refused.
        seed: Of the weights and of the order of the rows.
        make_model: Returns the model to train.
    """

    def __init__(
        self, folder: pathlib.Path, settings: dict[str, Any], seed: int, make_model: Callable[[], Any]
    ) -> None:
        self.folder, self.seed, self._make_model = folder, seed, make_model
        self.settings = {**settings, "seed": seed}

    @property
    def model_path(self) -> str:
        return str(self.folder / MODEL)

    def finished(self) -> dict[str, Any] | None:
        """Returns the figures of a finished run; None where there are none.

        Raises:
            SystemExit: the folder is of a run with other settings.
        """
        file = self.folder / FIGURES
        if not file.is_file():
            return None
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["settings"] != self.settings:
            raise SystemExit(f"{self.folder} is of other settings; give another --output, or delete it")
        return kept

    def run(self, datasets: Any, steps: int, objective: Any = None, **options: Any) -> dict[str, Any]:
        """Trains, or resumes, saves the model, and returns the figures: `tokens` and `seconds`.

        Args:
            datasets: What `add_curriculum_stage` takes.
            steps: Optimizer steps.
            objective: What is minimized; None is the next token.
            **options: Arguments of the trainer.
        """
        if (kept := self.finished()) is not None:
            return kept
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        earlier = self.folder / "seconds.json"
        before = json.loads(earlier.read_text(encoding="utf-8")) if earlier.is_file() else 0.0
        keras.utils.set_random_seed(self.seed)
        trainer = hn.Trainer(
            self._make_model(),
            objective=objective,
            seed=self.seed,
            validation_split=0.0,
            early_stopping_patience=None,
            **options,
        )
        trainer.add_curriculum_stage("mix", datasets, steps=steps)
        checkpoints = self.folder / "checkpoints"
        try:
            trainer.train(
                checkpoint_dir=checkpoints,
                checkpoint_interval=max(1, steps // 4),
                log_interval=max(1, steps // 5),
                keep_checkpoints=1,
                resume_from=(checkpoints / "latest").exists(),
                log_dir=None,
                verbose=False,
            )
        finally:
            seconds = before + time.perf_counter() - began
            earlier.write_text(json.dumps(seconds), encoding="utf-8")
        hn.save_model(trainer.model, self.model_path)
        figures = {"settings": self.settings, "tokens": trainer.progress.tokens_seen, "seconds": seconds}
        (self.folder / FIGURES).write_text(json.dumps(figures), encoding="utf-8")
        return figures
