"""Finds the steps that were skipped, and stores their batches."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from highnoon.files.file_hash import file_hash
from highnoon.files.foreign import read_json
from highnoon.files.name_path import name_path
from highnoon.files.sealed_json import require_sealed, seal
from highnoon.training.runs.running_figures import RunningFigures


@dataclasses.dataclass(frozen=True)
class SkippedStep:
    """A step whose update was not applied.

    Args:
        step: Optimizer step, from 1.
        in_a_row: How many were skipped up to here without a good one in between.
        loss: Of its batch, nats a token.
        grad_norm: Before clipping.
        position: Where its batch is: `stage`, `epoch`, `step_in_epoch`.
        path: The stored batch, or None.
    """

    step: int
    in_a_row: int
    loss: float
    grad_norm: float
    position: dict[str, int]
    path: pathlib.Path | None


@dataclasses.dataclass(frozen=True)
class TakenStep:
    """A step that was started.

    Args:
        step: Its number.
        metrics: What `TrainStep` returned.
        position: Where its batch is.
        batch: Computes its rows, and the documents of each, again.
    """

    step: int
    metrics: Mapping[str, Any]
    position: dict[str, int]
    batch: Callable[[], tuple[dict[str, np.ndarray], list[list[int]]]]


class SkippedSteps:
    """Looks at the steps' flags one call behind the device, so that nothing waits.

    Args:
        folder: Where batches of skipped steps are stored, as `step_N.npz` with the arrays and `step_N.json`
            with figures and the documents of each row; None stores none. Files that a killed run left half
            written there are removed.
        running: Gets the steps that were applied; None where nobody shows them.
    """

    def __init__(self, folder: pathlib.Path | None, running: RunningFigures | None = None) -> None:
        self._folder, self._running = folder, running
        for path in [] if folder is None else folder.glob("step_*.tmp"):
            path.unlink(missing_ok=True)
        self._calls: collections.deque[Sequence[TakenStep]] = collections.deque()
        self._errors: list[OSError] = []

    def add(self, taken: Sequence[TakenStep]) -> None:
        """Notes the steps of a call."""
        self._calls.append(taken)

    def examine(self, includes_last: bool) -> list[SkippedStep]:
        """Returns the skipped steps of the calls not looked at yet; of the last one only where asked."""
        found = []
        while len(self._calls) > (0 if includes_last else 1):
            for taken in self._calls.popleft():
                if bool(taken.metrics["is_skipped"]):
                    found.append(self._keep(taken))
                elif self._running is not None:
                    self._running.add(taken.metrics)
        return found

    def take_errors(self) -> list[OSError]:
        """Returns why batches could not be stored since the last call."""
        errors, self._errors = self._errors, []
        return errors

    def forget(self) -> None:
        """Drops the steps not looked at, after the run went back before them."""
        self._calls.clear()

    def _keep(self, taken: TakenStep) -> SkippedStep:
        metrics = taken.metrics
        path = None if self._folder is None else self._folder / f"step_{taken.step:08d}.npz"
        skipped = SkippedStep(
            taken.step,
            int(metrics["skipped_in_a_row"]),
            float(metrics["loss"]),
            float(metrics["grad_norm"]),
            taken.position,
            path,
        )
        if path is None:
            return skipped
        try:
            with name_path(path):
                write_skipped_batch(path, skipped, *taken.batch())
        except OSError as error:
            self._errors.append(error)
            return dataclasses.replace(skipped, path=None)
        return skipped


def read_skipped_batch(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns a stored batch and its figures, after comparing both with the hashes that were written.

    Args:
        path: The `step_N.npz`, whose `step_N.json` is in the same folder.

    Raises:
        ValueError: one of them has changed since it was written, or is not such a file.
        OSError: one of them cannot be read.
    """
    path = pathlib.Path(path)
    figures = read_json(path.with_suffix(".json"))
    require_sealed(figures, str(path.with_suffix(".json")))
    if "blake2b" in figures and file_hash(path) != figures["blake2b"]:
        raise ValueError(f"{path} is damaged: its bytes have changed since they were written")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays.items()), figures


def write_skipped_batch(
    path: pathlib.Path, skipped: SkippedStep, batch: dict[str, np.ndarray], documents: list[list[int]]
) -> None:
    """Writes both files of a skipped step, each complete or not at all.

    Args:
        path: The `step_N.npz`; `step_N.json` is written next to it.
        skipped: The step.
        batch: Its arrays.
        documents: Those of each row.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays, texts = path.with_suffix(".npz.tmp"), path.with_suffix(".json.tmp")
    try:
        with arrays.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **batch)
        hashes = {"bytes": arrays.stat().st_size, "blake2b": file_hash(arrays)}
        figures = {**dataclasses.asdict(skipped), "path": path.name, "documents": documents, **hashes}
        texts.write_text(json.dumps(seal(figures), indent=1), encoding="utf-8")
        os.replace(arrays, path)
        os.replace(texts, path.with_suffix(".json"))
    finally:
        arrays.unlink(missing_ok=True)
        texts.unlink(missing_ok=True)
