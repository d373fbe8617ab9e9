"""A stage of a curriculum: which data, for how long, under which overrides."""

from __future__ import annotations

import dataclasses
from typing import Any

from highnoon.config import ConfigError, resolve_keys

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
        datasets: What to train on: a name, path, `TextDataset` or source, a list of them, or a list of
            `(dataset, share)` pairs whose shares sum to one.
        epochs: Passes over the data; None takes `train(epochs_per_stage=)`.
        weight: Multiplies the stage's loss or learning rate, see `Trainer(weight_mode=)`.
        config_overrides: `TrainingConfig` fields that hold for this stage only: `learning_rate`,
            `batch_size`, `gradient_accumulation_steps`, `max_seq_length`, `early_stopping_patience`,
            `early_stopping_min_delta`.
        steps: Length in optimizer steps, in place of `epochs`.
        scheduler: A `CurriculumScheduler` that chooses the documents of each epoch.

    Raises:
        ConfigError: an empty name or dataset list, a length below one, a weight that is not positive,
            `epochs` and `steps` both given, or an override that a stage cannot have.
    """

    name: str
    datasets: Any
    epochs: int | None = None
    weight: float = 1.0
    config_overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    steps: int | None = None
    scheduler: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"a stage needs a name; received {self.name!r}")
        if not isinstance(self.datasets, (list, tuple)):
            self.datasets = [self.datasets]
        self.datasets = list(self.datasets)
        if not self.datasets:
            raise ConfigError(f"stage `{self.name}` names no dataset")
        if self.epochs is not None and self.steps is not None:
            raise ConfigError(f"stage `{self.name}` has `epochs` and `steps`; give one of them")
        for field in ("epochs", "steps"):
            value = getattr(self, field)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"stage `{self.name}`: `{field}` must be at least 1; received {value!r}")
        if not isinstance(self.weight, (int, float)) or not self.weight > 0:
            raise ConfigError(f"stage `{self.name}`: `weight` must be above 0; received {self.weight!r}")
        owner = f"stage `{self.name}`"
        self.config_overrides = resolve_keys(self.config_overrides, set(OVERRIDABLE), owner)
        if (
            self.scheduler is not None
            and getattr(self.scheduler, "unit", "epoch") == "step"
            and not self.steps
        ):
            raise ConfigError(
                f"stage `{self.name}`: a scheduler that counts steps needs the stage's length in `steps=`"
            )

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
        return list(names), [float(share) for share in shares]

    def to_dict(self) -> dict[str, Any]:
        """Returns what identifies the stage in a saved run, as JSON values."""
        names, shares = self.dataset_names_and_shares()
        return {
            "name": self.name,
            "datasets": [
                name if isinstance(name, str) else getattr(name, "name", str(name)) for name in names
            ],
            "shares": shares,
            "epochs": self.epochs,
            "steps": self.steps,
            "weight": self.weight,
            "config_overrides": self.config_overrides,
            "scheduler": describe_scheduler(self.scheduler),
        }


def describe_scheduler(scheduler: Any) -> dict[str, Any] | None:
    """Returns a scheduler's class name and configuration, or None."""
    if scheduler is None:
        return None
    return {"class": type(scheduler).__name__, "config": scheduler.get_config()}
