"""The configuration of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from highnoon.config.defaults import default
from highnoon.config.fields import check_fields, setting, size
from highnoon.config.keys import with_aliases

EARLY_STOPPING_PATIENCE = 10
EARLY_STOPPING_MIN_DELTA = 0.001
SCHEDULES = ("cosine", "linear", "wsd", "inverse_sqrt", "constant")
FAULT_ANSWERS = ("cut_learning_rate", "go_back")
LEARNING_RATE_SCALINGS = ("none", "linear", "sqrt")
OPTIMIZERS = ("adamw", "adafactor", "lion", "muon")


@with_aliases
@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Args:
        learning_rate: Peak learning rate.
        batch_size: Rows in one micro-batch on one device.
        epochs: Epochs of a stage, unless the stage or `train` says otherwise.
        warmup_steps: Optimizer steps of linear warm-up; None takes a tenth of the run, at
            most 1000.
        gradient_clip: Largest global norm of the gradient; None does not clip.
        weight_decay: Decoupled decay, kept off norms, biases and embeddings.
        adam_beta1: Decay of the first moment.
        adam_beta2: Decay of the second moment.
        adam_epsilon: Added to the root of the second moment.
        gradient_accumulation_steps: Micro-batches of one replica summed into one optimizer step.
        global_batch_size: Rows of one optimizer step over all replicas. The accumulation follows from it, so
            that the run is the same on any number of replicas; None computes it from the accumulation.
        max_seq_length: Row length in tokens.
        optimizer: `"adamw"`, `"adafactor"`, `"lion"` or `"muon"`, see `highnoon.training.optimizers`.
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

    learning_rate: float = setting(1e-4, above=0)
    batch_size: int = size(8)
    epochs: int = default(100)
    warmup_steps: int | None = setting(1000, least=0)
    gradient_clip: float | None = setting(1.0, above=0)
    weight_decay: float = setting(0.01, least=0)
    adam_beta1: float = setting(0.9, least=0, below=1)
    adam_beta2: float = setting(0.999, least=0, below=1)
    adam_epsilon: float = setting(1e-8, above=0)
    gradient_accumulation_steps: int = size(1)
    global_batch_size: int | None = size(None)
    max_seq_length: int = size(2048)
    optimizer: str = setting("adamw", choices=OPTIMIZERS)
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

    @property
    def fault_ladder(self) -> tuple[str, ...]:
        """The name that `on_repeated_faults` had before."""
        return self.on_repeated_faults

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"epochs": int(self.epochs)}

    @classmethod
    def of_model(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Returns the configuration that was saved with a model, for later runs: its `epochs` is not given.

        A saved configuration holds every field, so it cannot tell whether `epochs` was given.
        """
        return cls(**{key: value for key, value in values.items() if key != "epochs"})
