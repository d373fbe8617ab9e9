"""A stage of a curriculum: which data, for how long, under which overrides."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import (
    ConfigError,
    TrainingConfig,
    require_count,
    require_number,
    require_text,
    require_texts,
    resolve_keys,
    shown,
)
from highnoon.data import DataError, DocumentSource, InMemoryDataset
from highnoon.data.sequences.mixture import require_weights
from highnoon.data.sources.dataset_entries import dataset_entries, describe_dataset, is_absent_dataset
from highnoon.data.sources.open_source import require_source_options
from highnoon.training.objective import describe_objective, objective_from_config
from highnoon.training.trainable_weights import require_patterns

LENGTHS = ("epochs", "steps", "tokens")
OVERRIDABLE = frozenset(
    {
        "learning_rate",
        "batch_size",
        "gradient_accumulation_steps",
        "max_seq_length",
        "whole_documents",
        "early_stopping_patience",
        "early_stopping_min_delta",
    }
)


@dataclasses.dataclass
class CurriculumStage:
    """One stage of a run.

    Args:
        name: Unique within the run; events and the summary name it.
        datasets: What to train on: a name, path, `TextDataset`, source, data in memory (see
            `InMemoryDataset`), or a mapping of `name` and options of `open_source`; a list of them, or a list
            of `(dataset, weight)` pairs whose weights sum to one. A list of records, or of strings of which
            one is evidently text, is one dataset; see `dataset_entries`.
        epochs: Epochs over the data; None takes `train(epochs_per_stage=)`.
        weight: Multiplies the stage's loss or learning rate, see `Trainer(weight_mode=)`.
        config_overrides: `TrainingConfig` fields that hold for this stage only: `learning_rate`,
            `batch_size`, `gradient_accumulation_steps`, `max_seq_length`, `whole_documents`,
            `early_stopping_patience`, `early_stopping_min_delta`.
        steps: Length in optimizer steps, in place of `epochs`.
        scheduler: A `CurriculumScheduler` that chooses the documents of each epoch.
        tokens: Length in tokens of rows, instead of `epochs`; rounded up to complete steps.
        balance: Weights of datasets that were given without: None takes each in proportion to its tokens;
            `"equal"` gives all the same; a temperature `T` of at least 1 makes the weight of a dataset of
            `n` tokens `n^(1/T)`. A folder of domains counts as one dataset a domain.
        max_repeats: How often `balance` may show a dataset within one pass over all tokens; what a
            dataset gives up goes to the others.
        optional: Names of datasets that may be missing: a warning says so, and the others take their part.
        objective: What the stage minimizes: an `Objective`, the name of one, or a mapping of `name` and its
            arguments. None is the trainer's, which by default is next-token prediction.
        validation_data: What held-out losses are computed on: as `datasets`, without weights. The split of
            `datasets` is off then, so that all their documents are trained on. None holds out
            `validation_split` of the stage's own documents.
        trainable: Which weights the stage trains: patterns of weight paths as `fnmatch` reads them, such as
            `"*attention*"`. None trains all that the model declares trainable.
        tasks: Names of tasks, one for each of `datasets`: the run then reports the loss of each task, as
            `train/task_loss/NAME` and `val/task_loss/NAME`, where the stage predicts the next token. None
            reports none.

    Raises:
        ConfigError: an empty name or dataset list, a length below one, a weight that is not positive, two
            lengths given, weights given together with `balance`, or an override that a stage cannot have.

    Muennighoff et al. 2023, "Scaling data-constrained language models" (arXiv:2305.16264): up to four passes
    are nearly as useful as new text, hence the default of `max_repeats`.
    """

    name: str
    datasets: Any
    epochs: int | None = None
    weight: float = 1.0
    config_overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    steps: int | None = None
    scheduler: Any = None
    tokens: int | None = None
    balance: str | float | None = None
    max_repeats: float = 4.0
    optional: Sequence[str] = ()
    objective: Any = None
    trainable: Sequence[str] | None = None
    validation_data: Any = None
    tasks: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or "\0" in self.name:
            raise ConfigError(f"a stage needs a name, a text; received {shown(self.name)}")
        try:
            self._check()
        except (ConfigError, DataError) as error:
            raise ConfigError(f"stage `{self.name}`: {error}") from None

    def _check(self) -> None:
        self.datasets = dataset_entries(self.datasets)
        if not self.datasets:
            raise ConfigError("`datasets` names no dataset")
        self._check_length()
        self.weight = require_number("weight", self.weight, above=0)
        self.max_repeats = require_number("max_repeats", self.max_repeats, least=1)
        self.config_overrides = resolve_keys(self.config_overrides, set(OVERRIDABLE), "`config_overrides`")
        TrainingConfig(**self.config_overrides)
        names, weights = self.dataset_names_and_weights()
        for name in names:
            _require_dataset(name)
        if weights is not None:
            require_weights(weights)
        self._check_optional(names)
        self._check_balance(weights)
        self._check_tasks(len(names))
        if (held_out := self.validation_stage()) is not None:
            # Data in memory becomes a source once, so that it keeps its name.
            self.validation_data = held_out.datasets
        if self.objective is not None:
            self.objective = objective_from_config(self.objective)
        if self.trainable is not None:
            self.trainable = require_patterns(self.trainable)

    def validation_stage(self) -> CurriculumStage | None:
        """Returns a stage over `validation_data`, whose documents are all held out; None without them.

        Raises:
            ConfigError: `validation_data` cannot be a stage's datasets, or has weights.
        """
        if self.validation_data is None:
            return None
        try:
            held_out = CurriculumStage("validation_data", self.validation_data, steps=1)
        except ConfigError as error:
            raise ConfigError(
                str(error).replace("stage `validation_data`: ", "`validation_data`: ")
            ) from None
        if held_out.dataset_names_and_weights()[1] is not None:
            raise ConfigError("`validation_data` is evaluated as a whole; give its datasets without weights")
        held_out.objective = self.objective
        return held_out

    def _check_length(self) -> None:
        lengths = [field for field in LENGTHS if getattr(self, field) is not None]
        if len(lengths) > 1:
            names = " and ".join(f"`{field}`" for field in lengths)
            raise ConfigError(f"{names} are both given; give one of them")
        for field in lengths:
            setattr(self, field, require_count(field, getattr(self, field)))
        unit = getattr(self.scheduler, "unit", "epoch")
        if self.scheduler is not None and not hasattr(self.scheduler, "get_current_subset_indices"):
            raise ConfigError(f"`scheduler` must be a CurriculumScheduler; received {shown(self.scheduler)}")
        if unit != "epoch" and self.steps is None and self.tokens is None:
            raise ConfigError(
                f"a scheduler that counts {unit}s needs the stage's length in `steps=` or `tokens=`"
            )

    def _check_optional(self, names: Sequence[Any]) -> None:
        if not isinstance(self.optional, (list, tuple)):
            raise ConfigError(f"`optional` must be a list of datasets; received {shown(self.optional)}")
        self.optional = list(self.optional)
        unknown = [name for name in self.optional if name not in names]
        if unknown:
            raise ConfigError(f"{shown(unknown[0])} in `optional` is none of its datasets")

    def _check_tasks(self, num_datasets: int) -> None:
        if self.tasks is None:
            return
        require_texts("tasks", self.tasks)
        if isinstance(self.tasks, str) or len(self.tasks) != num_datasets:
            raise ConfigError(
                f"`tasks` must name one task for each of {num_datasets} datasets; received "
                f"{shown(self.tasks)}"
            )
        self.tasks = list(self.tasks)

    def _check_balance(self, weights: Sequence[float] | None) -> None:
        if self.balance is None:
            return
        if weights is not None:
            raise ConfigError("weights and `balance` are both given; give one of them")
        if isinstance(self.balance, str) and self.balance == "equal":
            return
        try:
            self.balance = require_number("balance", self.balance, least=1)
        except ConfigError:
            raise ConfigError(
                "`balance` must be 'equal' or a temperature of at least 1 and finite; received "
                f"{shown(self.balance)}"
            ) from None

    @property
    def temperature(self) -> float | None:
        """The balance as a temperature; infinite for equal weights, None where none was given."""
        return math.inf if self.balance == "equal" else self.balance  # type: ignore[return-value]

    @property
    def is_absent(self) -> bool:
        """Whether its data was in memory when the run was saved, and has to be given again."""
        stages = [stage for stage in (self, self.validation_stage()) if stage is not None]
        return any(is_absent_dataset(entry) for s in stages for entry in s.dataset_names_and_weights()[0])

    def take_names(self, absent: CurriculumStage) -> None:
        """Gives data in memory the names that a saved run has for it, whatever object holds it now."""
        held_out, before = self.validation_stage(), absent.validation_stage()
        if held_out is not None and before is not None:
            held_out.take_names(before)
        pairs = zip(self.dataset_names_and_weights()[0], absent.dataset_names_and_weights()[0], strict=False)
        for source, earlier in pairs:
            if isinstance(source, InMemoryDataset) and not source.is_named:
                source.name = getattr(earlier, "name", source.name)

    def dataset_names_and_weights(self) -> tuple[list[Any], list[float] | None]:
        """Returns the datasets, and their weights where pairs were given."""
        paired = [isinstance(entry, (tuple, list)) for entry in self.datasets]
        if not any(paired):
            return self.datasets, None
        if not all(paired) or any(len(entry) != 2 for entry in self.datasets):
            raise ConfigError(
                f"give every one of `datasets` as `(name, weight)` or none; received {shown(self.datasets)}"
            )
        names, weights = zip(*self.datasets, strict=True)
        try:
            return list(names), [require_number("weight", weight, above=0) for weight in weights]
        except ConfigError:
            raise ConfigError(f"weights must be numbers above 0; received {shown(list(weights))}") from None

    def to_dict(self) -> dict[str, Any]:
        """Returns what identifies the stage in a saved run, as JSON values."""
        names, weights = self.dataset_names_and_weights()
        return {
            "name": self.name,
            "datasets": [describe_dataset(dataset) for dataset in names],
            "shares": weights,
            "epochs": self.epochs,
            "steps": self.steps,
            "tokens": self.tokens,
            "balance": self.balance,
            "max_repeats": self.max_repeats,
            "optional": list(self.optional),
            "weight": self.weight,
            "config_overrides": self.config_overrides,
            "scheduler": describe_scheduler(self.scheduler),
            "objective": None if self.objective is None else describe_objective(self.objective),
            "trainable": self.trainable,
            **self._describe_validation_data(),
            **({} if self.tasks is None else {"tasks": list(self.tasks)}),
        }

    def _describe_validation_data(self) -> dict[str, Any]:
        held_out = self.validation_stage()
        return {} if held_out is None else {"validation_data": held_out.to_dict()["datasets"]}


def _require_dataset(entry: Any) -> None:
    """Checks what can be known of a dataset before it is opened.

    Raises:
        ConfigError: it is nothing that could name one.
        DataError: an option of reading is out of its range.
    """
    if isinstance(entry, Mapping):
        require_source_options(entry)
    elif isinstance(entry, str):
        require_text("datasets", entry)
    elif not isinstance(getattr(entry, "source", entry), (DocumentSource, os.PathLike)):
        raise ConfigError(
            "each of `datasets` must be a name, a path, data in memory, a TextDataset, a source, or a "
            f"mapping with `name`; received {shown(entry)}"
        )


def describe_scheduler(scheduler: Any) -> dict[str, Any] | None:
    """Returns a scheduler's class name and configuration, or None."""
    if scheduler is None:
        return None
    return {"class": type(scheduler).__name__, "config": scheduler.get_config()}
