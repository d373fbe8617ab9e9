"""From a preset's name or a configuration to a built model."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.config import Config, ConfigError, ModelConfig, TrainingConfig, get_preset_config, override
from highnoon.files.shown import shown
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.memory import require_memory

_FAST_BFLOAT16 = (8, 0)  # compute capability of the first GPUs with bfloat16 matrix units


def create_model(
    name_or_config: str | Config | ModelConfig,
    allow_oversize: bool = False,
    dtype: Any = "auto",
    **overrides: Any,
) -> LanguageModel:
    """Builds a language model with fresh weights.

    Args:
        name_or_config: A preset (`"highnoon-3b"`, or short `"3b"`), a `Config`, whose training part
            travels with the model, or a `ModelConfig`.
        allow_oversize: Build even what this machine's memory cannot hold.
        dtype: A dtype policy; `"auto"` takes Keras's own where one was set, else mixed bfloat16 on
            hardware that is fast at it, else float32.
        **overrides: Fields of `ModelConfig` or `TrainingConfig`, put in place of the preset's.

    Raises:
        ConfigError: an unknown preset, field or value.
        LimitExceededError: the weights would not fit into memory; nothing was allocated.

    Example:

    ```python
    import highnoon as hn

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    assert model.count_params() < 1_000_000
    ```
    """
    config, carries_training = _resolve(name_or_config)
    config = override(config, **overrides)
    carries_training = carries_training or config.training != TrainingConfig()
    require_memory(config.model, allow_oversize)
    return LanguageModel(
        **config.model.to_dict(),
        dtype=resolve_dtype(dtype),
        training_config=config.training if carries_training else None,
    )


def _resolve(name_or_config: str | Config | ModelConfig) -> tuple[Config, bool]:
    """The whole configuration, and whether its training part was meant."""
    if isinstance(name_or_config, str):
        return get_preset_config(name_or_config), False
    if isinstance(name_or_config, ModelConfig):
        return Config(model=name_or_config), False
    if isinstance(name_or_config, Config):
        return name_or_config, True
    raise ConfigError(
        f"`create_model` takes a preset's name, a Config or a ModelConfig; received {shown(name_or_config)}"
    )


def resolve_dtype(dtype: Any) -> Any:
    """Returns the dtype policy that `"auto"` stands for on this machine; other values as they are."""
    if not (isinstance(dtype, str) and dtype == "auto"):
        return dtype
    policy = keras.config.dtype_policy()
    if policy.name != "float32":
        return policy
    return "mixed_bfloat16" if _is_fast_at_bfloat16() else "float32"


def _is_fast_at_bfloat16() -> bool:
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        capability = str(getattr(device, "compute_capability", "0.0"))
        return device.platform == "tpu" or (
            device.platform == "gpu" and tuple(map(int, capability.split("."))) >= _FAST_BFLOAT16
        )
    import tensorflow as tf

    if tf.config.list_physical_devices("TPU"):
        return True
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return bool(gpus) and all(d.get("compute_capability", (0, 0)) >= _FAST_BFLOAT16 for d in details)
