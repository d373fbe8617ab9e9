"""Finds the steps that were passed over, and keeps their batches."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class SkippedStep:
    """A step whose update was not applied.

    Args:
        step: Optimizer step, from 1.
        in_a_row: How many were passed over up to here without a good one between.
        loss: Of its batch, nats a token.
        grad_norm: Before clipping.
        position: Where its batch lies: `stage`, `epoch`, `step_in_epoch`.
        path: The kept batch, or None.
    """

    step: int
    in_a_row: int
    loss: float
    grad_norm: float
    position: dict[str, int]
    path: pathlib.Path | None


@dataclasses.dataclass(frozen=True)
class _Pending:
    step: int
    metrics: dict[str, Any]
    position: dict[str, int]
    batch: Callable[[], tuple[dict[str, np.ndarray], list[list[int]]]]


class SkippedSteps:
    """Looks at the steps' flags one step behind the device, so that nothing waits.

    Args:
        folder: Where batches of skipped steps are kept, as `step_N.npz` with the arrays and `step_N.json`
            with figures and the documents of each row; None keeps none.
    """

    def __init__(self, folder: pathlib.Path | None) -> None:
        self._folder = folder
        self._pending: collections.deque[_Pending] = collections.deque()

    def add(
        self,
        step: int,
        metrics: dict[str, Any],
        position: dict[str, int],
        batch: Callable[[], tuple[dict[str, np.ndarray], list[list[int]]]],
    ) -> None:
        """Notes a step that was begun.

        Args:
            step: Its number.
            metrics: What `TrainStep` returned.
            position: Where its batch lies.
            batch: Computes its rows, and the documents of each, again.
        """
        self._pending.append(_Pending(step, metrics, position, batch))

    def examine(self, includes_last: bool) -> list[SkippedStep]:
        """Returns the skipped steps among those not looked at yet; the last one only where asked."""
        found = []
        while len(self._pending) > (0 if includes_last else 1):
            pending = self._pending.popleft()
            if bool(pending.metrics["is_skipped"]):
                found.append(self._keep(pending))
        return found

    def forget(self) -> None:
        """Drops the steps not looked at, after the run went back before them."""
        self._pending.clear()

    def _keep(self, pending: _Pending) -> SkippedStep:
        metrics = pending.metrics
        path = None if self._folder is None else self._folder / f"step_{pending.step:08d}.npz"
        skipped = SkippedStep(
            pending.step, int(metrics["skipped_in_a_row"]), float(metrics["loss"]),
            float(metrics["grad_norm"]), pending.position, path,
        )
        if path is not None:
            batch, documents = pending.batch()
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, allow_pickle=False, **batch)
            figures = {**dataclasses.asdict(skipped), "path": path.name, "documents": documents}
            path.with_suffix(".json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        return skipped
