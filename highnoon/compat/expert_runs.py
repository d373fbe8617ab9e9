"""How experts and their router are trained, under the names of the document."""

from __future__ import annotations

import dataclasses
from typing import Any

from highnoon.compat.data_config import DataConfig
from highnoon.compat.expert_config import ExpertConfig, with_documented_names
from highnoon.config import TrainingConfig, require_path
from highnoon.config.fields import setting, size


@with_documented_names
@dataclasses.dataclass(frozen=True)
class TrainExpertConfig(ExpertConfig):
    """How an expert is trained: AdamW, a linear warm-up and a cosine.

    Args:
        lr: Peak learning rate.
        weight_decay: Decoupled decay of the weights.
        warmup_steps: Optimizer steps of the warm-up. A run that is not longer takes a tenth of its steps.
        max_epochs: Most epochs.
        batch_size: Rows of a micro-batch.
        grad_accum_steps: Micro-batches of an optimizer step.
        grad_clip: Largest global norm of the gradient; None does not clip.
        patience: Epochs without a lower held-out loss before the run ends; None never ends it early.
        log_interval: Optimizer steps between log points.
        eval_interval: Optimizer steps between evaluations within an epoch; every epoch ends with one.
        snapshot_epochs: Epochs between the checkpoints that are kept.
        checkpoint_dir: Folder of the checkpoints.
        use_amp: Whether to compute in `amp_dtype` where the hardware has it.
        amp_dtype: `"bf16"` or `"fp16"`.
        seed: Seed of weights, dropout and the order of the data. The split does not depend on it.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_configs import TrainExpertConfig

    training = TrainExpertConfig(gradient_accumulation_steps=2).to_training_config()
    assert (training.learning_rate, training.gradient_accumulation_steps) == (3e-4, 2)
    ```
    """

    lr: float = setting(3e-4, above=0)
    weight_decay: float = setting(0.1, least=0)
    warmup_steps: int = setting(1000, least=0)
    max_epochs: int = setting(20, least=1)
    batch_size: int = size(32)
    grad_accum_steps: int = size(1)
    grad_clip: float | None = setting(1.0, above=0)
    patience: int | None = setting(5, least=1)
    log_interval: int = setting(50, least=1)
    eval_interval: int = setting(500, least=1)
    snapshot_epochs: int = setting(5, least=1)
    checkpoint_dir: str = "checkpoints"
    use_amp: bool = True
    amp_dtype: str = setting("bf16", choices=("bf16", "fp16"))
    seed: int = setting(42, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "checkpoint_dir", str(require_path("checkpoint_dir", self.checkpoint_dir)))

    def to_training_config(self, max_seq_len: int = 512, data: DataConfig | None = None) -> TrainingConfig:
        """Returns the run as a configuration of this package.

        Args:
            max_seq_len: Tokens of a row.
            data: Says the fraction that is held out; None takes the defaults.

        Raises:
            ConfigError: `max_seq_len` is below 1.
        """
        return TrainingConfig(
            learning_rate=self.lr,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            epochs=self.max_epochs,
            batch_size=self.batch_size,
            gradient_accumulation_steps=self.grad_accum_steps,
            gradient_clip=self.grad_clip,
            max_seq_length=max_seq_len,
            validation_split=(DataConfig() if data is None else data).val_split,
            early_stopping_patience=self.patience,
            early_stopping_min_delta=0.0,
            seed=self.seed,
        )

    def train_arguments(self) -> dict[str, Any]:
        """Returns arguments of `Trainer.train`: where and how often to save, log and evaluate."""
        names = ("checkpoint_dir", "log_interval", "eval_interval")
        return {name: getattr(self, name) for name in names}


@with_documented_names
@dataclasses.dataclass(frozen=True)
class TrainDiffuserConfig(TrainExpertConfig):
    """How the diffuser is trained: as `TrainExpertConfig`, with other defaults.

    Args:
        lr: Peak learning rate.
        warmup_steps: Optimizer steps of the warm-up.
        batch_size: Rows of a micro-batch.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_configs import TrainDiffuserConfig

    assert TrainDiffuserConfig().batch_size == 64
    ```
    """

    lr: float = setting(1e-4, above=0)
    warmup_steps: int = setting(500, least=0)
    batch_size: int = size(64)


@with_documented_names
@dataclasses.dataclass(frozen=True)
class TrainMLAConfig(TrainExpertConfig):
    """How the router is trained: as `TrainExpertConfig`, with other defaults and a regularizer.

    Args:
        lr: Peak learning rate.
        weight_decay: Decoupled decay of the weights.
        warmup_steps: Optimizer steps of the warm-up.
        max_epochs: Most epochs.
        batch_size: Rows of a micro-batch.
        grad_accum_steps: Micro-batches of an optimizer step.
        entropy_reg: Weight of the reward for an even load of the experts, at least 0; see
            `highnoon.experts.MixtureObjective`.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_configs import TrainMLAConfig

    config = TrainMLAConfig()
    assert config.batch_size * config.grad_accum_steps == 64
    ```
    """

    lr: float = setting(1e-4, above=0)
    weight_decay: float = setting(0.05, least=0)
    warmup_steps: int = setting(500, least=0)
    max_epochs: int = setting(30, least=1)
    batch_size: int = size(16)
    grad_accum_steps: int = size(4)
    entropy_reg: float = setting(0.01, least=0)
