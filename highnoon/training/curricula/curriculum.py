"""A curriculum of fixed pace: easy samples first, more of them stage by stage."""

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
    """Chooses which samples are trained on at each epoch, from the easy ones to all of them.

    ```
    stage(epoch)    = 0                                                   if epoch < warmup_epochs
                      min(num_stages - 1,
                          1 + (epoch - warmup_epochs) // stage_increment_epochs)      otherwise
    share           = stage / (num_stages - 1)
    fraction(stage) = initial + (1 - initial) * share                      pace "linear"
                      sqrt(initial^2 + (1 - initial^2) * share)            pace "root"
                      initial if stage == 0 else 1                         pace "step"
    ```

    with `initial = initial_fraction`. The samples of a stage are the `max(1, round(fraction * samples))`
    easiest ones. A single stage holds all samples. Epochs and stages count from 0.

    Args:
        strategy: What makes a sample hard: `"size_based"`, `"difficulty_based"`, `"mixed"` or
            `"reference_loss"`, see `highnoon.training.curricula.complexity`.
        num_stages: Number of stages, 1 to 10,000.
        warmup_epochs: Epochs of the first stage, before the data grows; not negative.
        stage_increment_epochs: Epochs of each stage after it, at least 1.
        initial_fraction: Share of the samples in the first stage, in (0, 1].
        verbose: Whether to print one line whenever the stage changes.
        unit: `"epoch"`, or `"step"` or `"token"` where a run is too short for epochs: the three counts
            above are then optimizer steps or tokens of rows, and so is the `epoch` given to the methods.
        pace: How the share grows: `"linear"`; `"root"`, fast at first, as new samples are a smaller part
            of many; `"step"`, from the first stage to everything at once.
        reference_model: For `strategy="reference_loss"`: a language model with its tokenizer, or the folder
            of one; a checkpoint can only name a folder.

    Raises:
        ValueError: an argument out of its range.

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
        """Returns (samples,) float64 scores, higher for the more complex.

        Args:
            samples: Texts, token id sequences, or anything with a `text`; may be lazy, it is
                read once.
            strategy: None takes the scheduler's own.
        """
        strategy = self.strategy if strategy is None else strategy
        return complexity_scores(samples, strategy, self.reference_model)

    def prepare_curriculum(self, samples: Sequence[Any]) -> np.ndarray:
        """Sorts the samples and returns their indices from easy to hard; equal ones keep their order.

        Raises:
            ValueError: there are no samples.
        """
        scores = self.compute_complexity_scores(samples)
        if not len(scores):
            raise ValueError("`samples` must hold at least 1 sample; received none")
        self._sorted_indices = np.argsort(scores, kind="stable")
        return self._sorted_indices.copy()

    def get_current_subset_indices(self, epoch: int) -> np.ndarray:
        """Returns the indices of the samples to train on, from easy to hard.

        Args:
            epoch: The epoch that begins, from 0; the optimizer step where `unit="step"`.

        Raises:
            RuntimeError: `prepare_curriculum` was not called.
        """
        order = self._prepared()
        self.current_stage = self.stage_at(require_count("epoch", epoch, least=0))
        self._announce()
        return order[: self._num_samples()].copy()

    def num_samples_at(self, epoch: int) -> int:
        """Returns how many samples `get_current_subset_indices(epoch)` would return; moves nothing."""
        return self._size_of(self.stage_at(epoch))

    def get_stage_info(self) -> dict[str, Any]:
        """Returns the stage of the last subset: its number from 0, its share and number of samples.

        `num_samples` and `total_samples` are 0 until `prepare_curriculum` is called.
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
        """Returns the stage of an epoch (or of a step where `unit="step"`)."""
        if epoch < self.warmup_epochs:
            return 0
        return min(self.num_stages - 1, 1 + (epoch - self.warmup_epochs) // self.stage_increment_epochs)

    def fraction_at(self, stage: int) -> float:
        """Returns the share of the samples that a stage trains on."""
        if self.num_stages == 1:
            return 1.0
        start, share = self.initial_fraction, stage / (self.num_stages - 1)
        if self.pace == "step":
            return 1.0 if stage else start
        grown = start + (1.0 - start) * share
        if self.pace == "root":
            grown = math.sqrt(start**2 + (1.0 - start**2) * share)
        return round(grown, 12)  # 0.6, not 0.6000000000000001

    def epochs_to_full_data(self) -> int:
        """Returns the epochs (or steps) before all samples are in use.

        A run that is no longer than this never sees the hardest samples.
        """
        if self.num_stages == 1 or self.initial_fraction == 1.0:
            return 0
        if self.pace == "step":
            return self.warmup_epochs
        return self.warmup_epochs + (self.num_stages - 2) * self.stage_increment_epochs

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint must keep, as plain JSON values.

        The order of the samples is not in it: `prepare_curriculum` makes the same one again.
        """
        return {"current_stage": self.current_stage}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state_dict` returned.

        Raises:
            ValueError: the keys are not those of this scheduler, or the stage is not one of its.
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
        """Returns the constructor's arguments as plain JSON values."""
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
