"""A curriculum with a fixed pace: easy samples first, harder ones added stage by stage."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from highnoon.config import require_choice, require_count, require_flag, require_number
from highnoon.training.curricula.complexity import check_strategy, complexity_scores

UNITS = ("epoch", "step", "token")
PACES = ("linear", "root", "step")
MAX_STAGES = 10_000


class CurriculumScheduler:
    """Selects the samples of each epoch: first the easy ones, at the end all of them.

    ```
    stage(epoch)    = 0                                                   if epoch < warmup_epochs
                      min(num_stages - 1,
                          1 + (epoch - warmup_epochs) // stage_increment_epochs)      otherwise
    progress        = stage / (num_stages - 1)
    fraction(stage) = initial + (1 - initial) * progress                   pace "linear"
                      sqrt(initial^2 + (1 - initial^2) * progress)         pace "root"
                      initial if stage == 0 else 1                         pace "step"
    ```

    with `initial = initial_fraction`. A stage uses the `max(1, round(fraction * samples))` easiest samples.
    A single stage uses all samples. Epochs and stages are counted from 0.

    Args:
        strategy: How difficulty is measured: `"size_based"`, `"difficulty_based"`, `"mixed"` or
            `"reference_loss"`, see `highnoon.training.curricula.complexity`.
        num_stages: Number of stages, 1 to 10,000.
        warmup_epochs: Epochs of the first stage; not negative.
        stage_increment_epochs: Epochs of each later stage, at least 1.
        initial_fraction: Fraction of the samples in the first stage, in (0, 1].
        verbose: Whether to print one line whenever the stage changes.
        unit: `"epoch"`; or `"step"` or `"token"`, for runs of few epochs. The counts above and the `epoch`
            argument of the methods are then optimizer steps, or tokens.
        pace: How the fraction grows: `"linear"`; `"root"`, faster at the start; `"step"`, to all samples
            after the first stage.
        reference_model: For `strategy="reference_loss"`: a language model with a tokenizer, or the path of a
            saved one. Only a path is saved in checkpoints.

    Raises:
        ValueError: An argument is out of range.

    Example:

    ```python
    texts = ["A cat.", "A cat sat.", "A cat sat on a mat.", "A cat sat on a mat, purring."]
    scheduler = CurriculumScheduler(num_stages=2, warmup_epochs=1, initial_fraction=0.5, verbose=False)
    scheduler.prepare_curriculum(texts)
    assert scheduler.get_current_subset_indices(epoch=0).tolist() == [0, 1]
    assert len(scheduler.get_current_subset_indices(epoch=1)) == 4
    ```

    Bengio et al. 2009, "Curriculum learning"; the root pace is Platanios et al. 2019, "Competence-based
    curriculum learning for neural machine translation", equation 7, the step pace Hacohen, Weinshall 2019.
    """

    def __init__(
        self,
        strategy: str = "size_based",
        num_stages: int = 5,
        warmup_epochs: int = 10,
        stage_increment_epochs: int = 20,
        initial_fraction: float = 0.2,
        verbose: bool = True,
        unit: str = "epoch",
        pace: str = "linear",
        reference_model: Any = None,
    ):
        self.strategy = check_strategy(strategy)
        self.num_stages = require_count("num_stages", num_stages, most=MAX_STAGES)
        self.warmup_epochs = require_count("warmup_epochs", warmup_epochs, least=0)
        self.stage_increment_epochs = require_count("stage_increment_epochs", stage_increment_epochs, least=1)
        self.initial_fraction = require_number("initial_fraction", initial_fraction, above=0, most=1)
        self.verbose = require_flag("verbose", verbose)
        self.unit, self.pace = require_choice("unit", unit, UNITS), require_choice("pace", pace, PACES)
        self.reference_model = os.fspath(reference_model) if _is_path(reference_model) else reference_model
        self.current_stage = 0
        self._announced_stage: int | None = None
        self._sorted_indices: np.ndarray | None = None

    def compute_complexity_scores(self, samples: Sequence[Any], strategy: str | None = None) -> np.ndarray:
        """Returns float64 scores of shape (samples,); harder samples have higher scores.

        Args:
            samples: Texts, sequences of token ids, or objects with a `text`; iterated once.
            strategy: None for the scheduler's own.
        """
        strategy = self.strategy if strategy is None else strategy
        return complexity_scores(samples, strategy, self.reference_model)

    def prepare_curriculum(self, samples: Sequence[Any]) -> np.ndarray:
        """Sorts the samples by difficulty and returns their indices, easiest first; the sort is stable.

        Raises:
            ValueError: There are no samples.
        """
        scores = self.compute_complexity_scores(samples)
        if not len(scores):
            raise ValueError("`samples` must hold at least 1 sample; received none")
        self._sorted_indices = np.argsort(scores, kind="stable")
        return self._sorted_indices.copy()

    def get_current_subset_indices(self, epoch: int) -> np.ndarray:
        """Returns the indices of the samples to train on, easiest first.

        Args:
            epoch: The epoch that begins, from 0; with `unit="step"` the optimizer step.

        Raises:
            RuntimeError: `prepare_curriculum` was not called.
        """
        order = self._prepared()
        self.current_stage = self.stage_at(require_count("epoch", epoch, least=0))
        self._announce()
        return order[: self._num_samples()].copy()

    def num_samples_at(self, epoch: int) -> int:
        """Returns the number of samples of an epoch, without changing the current stage."""
        return self._size_of(self.stage_at(epoch))

    def get_stage_info(self) -> dict[str, Any]:
        """Returns the stage of the last subset: its index, its fraction and its number of samples.

        `num_samples` and `total_samples` are 0 before `prepare_curriculum` is called.
        """
        is_prepared = self._sorted_indices is not None
        return {
            "current_stage": self.current_stage,
            "fraction": self.fraction_at(self.current_stage),
            "num_samples": self._num_samples() if is_prepared else 0,
            "total_samples": len(self._prepared()) if is_prepared else 0,
            "num_stages": self.num_stages,
            "strategy": self.strategy,
        }

    def stage_at(self, epoch: int) -> int:
        """Returns the stage of an epoch (with `unit="step"` of a step)."""
        if epoch < self.warmup_epochs:
            return 0
        return min(self.num_stages - 1, 1 + (epoch - self.warmup_epochs) // self.stage_increment_epochs)

    def fraction_at(self, stage: int) -> float:
        """Returns the fraction of the samples that a stage trains on."""
        if self.num_stages == 1:
            return 1.0
        start, progress = self.initial_fraction, stage / (self.num_stages - 1)
        if self.pace == "step":
            return 1.0 if stage else start
        grown = start + (1.0 - start) * progress
        if self.pace == "root":
            grown = math.sqrt(start**2 + (1.0 - start**2) * progress)
        return round(grown, 12)  # 0.6, not 0.6000000000000001

    def epochs_to_full_data(self) -> int:
        """Returns the number of epochs (or steps) before all samples are used.

        A run that is not longer never trains on the hardest samples.
        """
        if self.num_stages == 1 or self.initial_fraction == 1.0:
            return 0
        if self.pace == "step":
            return self.warmup_epochs
        return self.warmup_epochs + (self.num_stages - 2) * self.stage_increment_epochs

    def state_dict(self) -> dict[str, Any]:
        """Returns the state for a checkpoint, as JSON values.

        The order of the samples is not part of it: `prepare_curriculum` computes the same order again.
        """
        return {"current_stage": self.current_stage}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `state_dict` returned.

        Raises:
            ValueError: The keys are not those of this scheduler, or the stage is out of range.
        """
        expected, received = set(self.state_dict()), set(state)
        if expected != received:
            raise ValueError(
                f"the state of a {type(self).__name__} must have the keys {sorted(expected)}; "
                f"received {sorted(received)}"
            )
        if not 0 <= state["current_stage"] < self.num_stages:
            raise ValueError(
                f"`current_stage` must be between 0 and num_stages - 1={self.num_stages - 1}; "
                f"received {state['current_stage']}"
            )
        self.current_stage = self._announced_stage = int(state["current_stage"])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as JSON values."""
        return {
            "strategy": self.strategy,
            "num_stages": self.num_stages,
            "warmup_epochs": self.warmup_epochs,
            "stage_increment_epochs": self.stage_increment_epochs,
            "initial_fraction": self.initial_fraction,
            "verbose": self.verbose,
            "unit": self.unit,
            "pace": self.pace,
            "reference_model": self.reference_model if _is_path(self.reference_model) else None,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> CurriculumScheduler:
        return cls(**config)

    def _prepared(self) -> np.ndarray:
        if self._sorted_indices is None:
            raise RuntimeError("the curriculum is not prepared; call `prepare_curriculum(samples)` first")
        return self._sorted_indices

    def _num_samples(self) -> int:
        return self._size_of(self.current_stage)

    def _size_of(self, stage: int) -> int:
        return max(1, round(self.fraction_at(stage) * len(self._prepared())))

    def _announce(self) -> None:
        if self.verbose and self.current_stage != self._announced_stage:
            print(
                f"curriculum: stage {self.current_stage + 1} of {self.num_stages}, "
                f"{self._num_samples():,} of {len(self._prepared()):,} samples"
            )
        self._announced_stage = self.current_stage


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))
