"""The configuration of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from highnoon.config.defaults import default, is_given
from highnoon.config.fields import check_fields, setting, size
from highnoon.config.keys import resolve_keys, with_aliases
from highnoon.config.optimizer_choice import (
    BROUGHT,
    OPTIMIZERS,
    is_of_keras,
    require_not_brought,
    require_optimizer,
    with_brought_fields,
)

EARLY_STOPPING_PATIENCE = 10
EARLY_STOPPING_MIN_DELTA = 0.001
MAX_AUTOMATIC_WARMUP_STEPS = 1000
AUTOMATIC_WARMUP_FRACTION = 10
"""One part in so many of the run is the warm-up that nobody set."""
SCHEDULES = ("cosine", "linear", "wsd", "inverse_sqrt", "constant")
FAULT_ANSWERS = ("cut_learning_rate", "go_back")
LEARNING_RATE_SCALINGS = ("none", "linear", "sqrt")
__all__ = [
    "EARLY_STOPPING_MIN_DELTA",
    "EARLY_STOPPING_PATIENCE",
    "FAULT_ANSWERS",
    "LEARNING_RATE_SCALINGS",
    "OPTIMIZERS",
    "SCHEDULES",
    "TrainingConfig",
]


@with_aliases
@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Args:
        learning_rate: Peak learning rate. Where it is not given, that of the model's preset, or 1e-4.
        batch_size: Rows in one micro-batch on one device.
        epochs: Epochs of a stage, unless the stage or `train` says otherwise.
        warmup_steps: Optimizer steps of linear warm-up. Where it is not given, or None, the warm-up takes a
            tenth of the run, at most 1000 steps.
        gradient_clip: Largest global norm of the gradient; None does not clip.
        weight_decay: Decoupled decay, kept off norms, biases and embeddings.
        adam_beta1: Decay of the first moment.
        adam_beta2: Decay of the second moment.
        adam_epsilon: Added to the root of the second moment.
        gradient_accumulation_steps: Micro-batches of one replica summed into one optimizer step.
        global_batch_size: Rows of one optimizer step over all replicas. The accumulation follows from it, so
            that the run is the same on any number of replicas; None computes it from the accumulation.
        max_seq_length: Row length in tokens.
        whole_documents: Whether rows are filled without cutting documents that fit into one, such as a prompt
            and its answer, and padded; otherwise rows are full, and a document is cut wherever one ends.
        optimizer: `"adamw"`, `"adafactor"`, `"lion"` or `"muon"`, see `highnoon.training.optimizers`; or an
            optimizer of Keras: its name, or a mapping of `class_name` and `config`. That one brings its own
            learning rate, clipping, decay and average: the fields for these must be left out.
        muon_momentum: Momentum of Muon's matrices.
        ema_momentum: Decay of an exponential moving average of the weights, which validation and the final
            model use; None keeps no average.
        schedule: After the warm-up: `"cosine"`, `"linear"`, `"wsd"` (steady, then linear over the last
            `decay_ratio` of the run), `"inverse_sqrt"` or `"constant"`.
        decay_ratio: Fraction of the run in which `"wsd"` decays.
        min_learning_rate_ratio: Where cosine, linear and `"wsd"` end, as a fraction of the peak.
        validation_split: Fraction of documents held out, by a hash of their text.
        early_stopping_patience: Evaluated epochs without improvement before a stage ends;
            None never ends early.
        early_stopping_min_delta: Smallest decrease of the validation loss, in nats, that counts as an
            improvement.
        spike_threshold: A step whose loss is this many standard deviations above its running mean is skipped,
            like one whose loss is not finite; None does not look.
        max_skipped_steps: Steps skipped in a row before the next of `on_repeated_faults` is done.
        on_repeated_faults: What to do at the first, second, ... repeated fault: `"cut_learning_rate"` (by
            half) or `"go_back"` (to the newest checkpoint, skipping the batches since). After the last one
            the run stops. Also accepted as `fault_ladder`.
        learning_rate_scaling: How the learning rate grows with the number of replicas: `"none"`, `"linear"`
            or `"sqrt"`.
        seed: Seed of data order and dropout.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """

    learning_rate: float = setting(default(1e-4), above=0)
    batch_size: int = size(8)
    epochs: int = default(100)
    warmup_steps: int | None = setting(default(MAX_AUTOMATIC_WARMUP_STEPS), least=0)
    gradient_clip: float | None = setting(1.0, above=0)
    weight_decay: float = setting(0.01, least=0)
    adam_beta1: float = setting(0.9, least=0, below=1)
    adam_beta2: float = setting(0.999, least=0, below=1)
    adam_epsilon: float = setting(1e-8, above=0)
    gradient_accumulation_steps: int = size(1)
    global_batch_size: int | None = size(None)
    max_seq_length: int = size(2048)
    whole_documents: bool = False
    optimizer: Any = "adamw"
    muon_momentum: float = setting(0.95, least=0, below=1)
    ema_momentum: float | None = setting(None, least=0, below=1)
    schedule: str = setting("cosine", choices=SCHEDULES)
    decay_ratio: float = setting(0.2, above=0, most=1)
    min_learning_rate_ratio: float = setting(0.1, least=0)
    validation_split: float = setting(0.1, least=0, below=1)
    early_stopping_patience: int | None = EARLY_STOPPING_PATIENCE
    early_stopping_min_delta: float = setting(EARLY_STOPPING_MIN_DELTA, least=0)
    spike_threshold: float | None = setting(None, above=0)
    max_skipped_steps: int = 10
    on_repeated_faults: tuple[str, ...] = setting((), choices=FAULT_ANSWERS)
    learning_rate_scaling: str = setting("none", choices=LEARNING_RATE_SCALINGS)
    seed: int = setting(42, least=0)

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "optimizer", require_optimizer(self.optimizer))
        if is_of_keras(self.optimizer):
            for name, value in with_brought_fields(self).items():
                object.__setattr__(self, name, value)
        elif self.warmup_steps is None:
            object.__setattr__(self, "warmup_steps", default(MAX_AUTOMATIC_WARMUP_STEPS))

    @property
    def fault_ladder(self) -> tuple[str, ...]:
        """The name that `on_repeated_faults` had before."""
        return self.on_repeated_faults

    def warmup_of(self, total_steps: int) -> int:
        """Returns the optimizer steps of the warm-up of a run.

        That is `warmup_steps` where it was given and is shorter than the run, else a tenth of the run, at
        most 1000 steps.

        Args:
            total_steps: Optimizer steps of the run.
        """
        if self.warmup_steps is not None and is_given(self.warmup_steps) and self.warmup_steps < total_steps:
            return self.warmup_steps
        return min(MAX_AUTOMATIC_WARMUP_STEPS, total_steps // AUTOMATIC_WARMUP_FRACTION)

    def updated(self, values: Mapping[str, Any], owner: str = "TrainingConfig") -> TrainingConfig:
        """Returns a copy with fields replaced.

        An optimizer of Keras among the values replaces the learning rate, schedule, decay and clipping of
        this configuration as well.

        Args:
            values: Fields by name or alias.
            owner: Whose they are, for errors.

        Raises:
            ConfigError: as the class, or a value that an optimizer of Keras brings itself.
        """
        known = {field.name: field.default for field in dataclasses.fields(self)}
        values = resolve_keys(values, set(known), owner)
        if "optimizer" not in values:
            return dataclasses.replace(self, **values)
        optimizer = require_optimizer(values["optimizer"])
        if not is_of_keras(optimizer) and not is_of_keras(self.optimizer):
            return dataclasses.replace(self, **values)
        if is_of_keras(optimizer):
            for name in BROUGHT:
                if name in values:
                    require_not_brought(optimizer, name, values[name])
        defaults = {name: known[name] for name in BROUGHT}
        return dataclasses.replace(self, **{**defaults, **values, "optimizer": optimizer})

    def to_dict(self) -> dict[str, Any]:
        """Returns every field; `warmup_steps` is None where it was not given."""
        return dataclasses.asdict(self) | {
            "learning_rate": float(self.learning_rate),
            "epochs": int(self.epochs),
            "warmup_steps": self.warmup_steps if is_given(self.warmup_steps) else None,
        }

    @classmethod
    def of_model(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Returns the configuration that was saved with a model, for later runs: its `epochs` is not given.

        A saved configuration holds every field, so it cannot tell whether `epochs` was given.
        """
        return cls(**{key: value for key, value in values.items() if key != "epochs"})
