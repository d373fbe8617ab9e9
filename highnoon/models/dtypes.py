"""The dtype policy that `"auto"` selects."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.config import require_choice

_FAST_BFLOAT16 = (8, 0)  # compute capability of the first GPUs with bfloat16 matrix units


def resolve_dtype(dtype: Any) -> Any:
    """Returns the dtype policy that `"auto"` selects on this machine; other values unchanged."""
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


def amp_policy(use_amp: bool = True, amp_dtype: str = "bf16") -> tuple[str, str | None]:
    """Returns the dtype policy of automatic mixed precision on this machine.

    Weights stay in float32. bfloat16 needs no loss scale and is taken where the hardware is fast at it;
    other GPUs compute in float16, and CPUs in float32.

    Args:
        use_amp: Whether to compute in less than float32 at all.
        amp_dtype: `"bf16"` or `"fp16"`.

    Returns:
        The policy, and a line that says which other dtype was taken; None where it is the one asked for.

    Raises:
        ConfigError: another dtype.
    """
    require_choice("amp_dtype", amp_dtype, ("bf16", "fp16"))
    if not use_amp:
        return "float32", None
    if amp_dtype == "bf16" and _is_fast_at_bfloat16():
        return "mixed_bfloat16", None
    if _has_gpu():
        is_asked = amp_dtype == "fp16"
        return (
            "mixed_float16",
            None if is_asked else "note: this GPU is not fast at bf16; it computes in fp16",
        )
    return "float32", f"note: a CPU gains nothing from {amp_dtype}; it computes in float32 (--no-use_amp)"


def _has_gpu() -> bool:
    if keras.backend.backend() == "jax":
        import jax

        return bool(jax.devices()[0].platform == "gpu")
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
