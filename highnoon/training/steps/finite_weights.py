"""Whether arrays and variables hold only finite numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from highnoon.models.arrays import variable_names


def find_non_finite(variables: Sequence[keras.Variable]) -> str | None:
    """Returns the name of a variable that holds a number that is not finite, or None.

    Each variable is reduced on its device; the host waits once, for one flag a variable.
    """
    checked = [variable for variable in variables if _is_float(variable.dtype)]
    if not checked:
        return None
    flags = tf.stack(
        [tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(variable.value))) for variable in checked]
    ).numpy()
    if flags.all():
        return None
    return variable_names(checked)[int(np.argmin(flags))]


def find_non_finite_array(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns the name of an array that holds a number that is not finite, or None."""
    for name, array in arrays.items():
        if not _is_float(str(array.dtype)):
            continue
        # NumPy's own types as they are, others such as bfloat16 as float32.
        if not np.isfinite(array if array.dtype.kind == "f" else array.astype(np.float32)).all():
            return name
    return None


def _is_float(dtype: str) -> bool:
    return "float" in dtype
