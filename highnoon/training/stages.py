"""A stage of a curriculum: which data, for how long, under which overrides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import ConfigError, resolve_keys
from highnoon.data import DataError
from highnoon.data.mixture import require_weights

LENGTHS = ("epochs", "steps", "tokens")
OVERRIDABLE = frozenset(
    {
        "learning_rate",
        "batch_size",
        "gradient_accumulation_steps",
        "max_seq_length",
        "early_stopping_patience",
        "early_stopping_min_delta",
    }
)


@dataclasses.dataclass
class CurriculumStage:
    """One stage of a run.

    Args:
        name: Unique within the run; events and the summary name it.
        datasets: What to train on: a name, path, `TextDataset`, source, or a mapping of `name` and options of
            `open_source`; a list of them, or a list of `(dataset, share)` pairs whose shares sum to one.
        epochs: Passes over the data; None takes `train(epochs_per_stage=)`.
        weight: Multiplies the stage's loss or learning rate, see `Trainer(weight_mode=)`.
        config_overrides: `TrainingConfig` fields that hold for this stage only: `learning_rate`,
            `batch_size`, `gradient_accumulation_steps`, `max_seq_length`, `early_stopping_patience`,
            `early_stopping_min_delta`.
        steps: Length in optimizer steps, in place of `epochs`.
        scheduler: A `CurriculumScheduler` that chooses the documents of each epoch.
        tokens: Length in tokens of rows, in place of `epochs`; rounded up to whole steps.
        balance: Shares of datasets that were given without: None takes each in proportion to its tokens;
            `"equal"` gives all the same; a temperature `T` of at least 1 makes the share of a dataset of
            `n` tokens `n^(1/T)`. A folder of domains counts as one dataset a domain.
        max_repeats: How often `balance` may show a dataset within one pass over all tokens; what a
            dataset gives up goes to the others.
        optional: Names of datasets that may be missing: a warning says so, and the others share theirs.

    Raises:
        ConfigError: an empty name or dataset list, a length below one, a weight that is not positive, two
            lengths given, shares given beside `balance`, or an override that a stage cannot have.

    Muennighoff et al. 2023, "Scaling data-constrained language models" (arXiv:2305.16264): up to four passes
    are worth nearly as much as new text, hence the default of `max_repeats`.
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

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"a stage needs a name; received {self.name!r}")
        if not isinstance(self.datasets, (list, tuple)):
            self.datasets = [self.datasets]
        self.datasets = list(self.datasets)
        if not self.datasets:
            raise ConfigError(f"stage `{self.name}` names no dataset")
        lengths = [field for field in LENGTHS if getattr(self, field) is not None]
        if len(lengths) > 1:
            names = " and ".join(f"`{field}`" for field in lengths)
            raise ConfigError(f"stage `{self.name}` has {names}; give one of them")
        for field in LENGTHS:
            value = getattr(self, field)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"stage `{self.name}`: `{field}` must be at least 1; received {value!r}")
        if not isinstance(self.weight, (int, float)) or not self.weight > 0:
            raise ConfigError(f"stage `{self.name}`: `weight` must be above 0; received {self.weight!r}")
        owner = f"stage `{self.name}`"
        self.config_overrides = resolve_keys(self.config_overrides, set(OVERRIDABLE), owner)
        unit = getattr(self.scheduler, "unit", "epoch")
        if unit != "epoch" and self.steps is None and self.tokens is None:
            raise ConfigError(
                f"stage `{self.name}`: a scheduler that counts {unit}s needs the stage's length in `steps=` "
                "or `tokens=`"
            )
        shares = self.dataset_names_and_shares()[1]
        if shares is not None:
            try:
                require_weights(shares)
            except DataError as error:
                raise ConfigError(f"stage `{self.name}`: {error}") from None
        self._check_balance()

    def _check_balance(self) -> None:
        self.optional = list(self.optional)
        unknown = [name for name in self.optional if name not in self.dataset_names_and_shares()[0]]
        if unknown:
            raise ConfigError(f"stage `{self.name}`: {unknown[0]!r} in `optional` is none of its datasets")
        if self.balance is None:
            return
        if self.dataset_names_and_shares()[1] is not None:
            raise ConfigError(f"stage `{self.name}` has shares and `balance`; give one of them")
        is_temperature = isinstance(self.balance, (int, float)) and not isinstance(self.balance, bool)
        if not (self.balance == "equal" or (is_temperature and float(self.balance) >= 1.0)):
            raise ConfigError(
                f"stage `{self.name}`: `balance` must be 'equal' or a temperature of at least 1; "
                f"received {self.balance!r}"
            )
        if not self.max_repeats >= 1.0:
            raise ConfigError(
                f"stage `{self.name}`: `max_repeats` must be at least 1; received {self.max_repeats!r}"
            )

    @property
    def temperature(self) -> float | None:
        """The balance as a temperature; infinite for equal shares, None where none was asked for."""
        return math.inf if self.balance == "equal" else self.balance  # type: ignore[return-value]

    def dataset_names_and_shares(self) -> tuple[list[Any], list[float] | None]:
        """Returns the datasets, and their shares where pairs were given."""
        paired = [isinstance(entry, (tuple, list)) for entry in self.datasets]
        if not any(paired):
            return self.datasets, None
        if not all(paired) or any(len(entry) != 2 for entry in self.datasets):
            raise ConfigError(
                f"stage `{self.name}`: give every dataset as `(name, share)` or none; "
                f"received {self.datasets!r}"
            )
        names, shares = zip(*self.datasets, strict=True)
        if not all(isinstance(share, (int, float)) for share in shares):
            raise ConfigError(f"stage `{self.name}`: shares must be numbers; received {list(shares)!r}")
        return list(names), [float(share) for share in shares]

    def to_dict(self) -> dict[str, Any]:
        """Returns what identifies the stage in a saved run, as JSON values."""
        names, shares = self.dataset_names_and_shares()
        return {
            "name": self.name,
            "datasets": [_describe_dataset(dataset) for dataset in names],
            "shares": shares,
            "epochs": self.epochs,
            "steps": self.steps,
            "tokens": self.tokens,
            "balance": self.balance,
            "max_repeats": self.max_repeats,
            "optional": list(self.optional),
            "weight": self.weight,
            "config_overrides": self.config_overrides,
            "scheduler": describe_scheduler(self.scheduler),
        }


def _describe_dataset(dataset: Any) -> Any:
    if isinstance(dataset, Mapping):
        return dict(dataset)
    return dataset if isinstance(dataset, str) else getattr(dataset, "name", str(dataset))


def describe_scheduler(scheduler: Any) -> dict[str, Any] | None:
    """Returns a scheduler's class name and configuration, or None."""
    if scheduler is None:
        return None
    return {"class": type(scheduler).__name__, "config": scheduler.get_config()}
