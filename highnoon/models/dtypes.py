"""The dtype policy that `"auto"` selects."""

from __future__ import annotations

from typing import Any

import keras

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
