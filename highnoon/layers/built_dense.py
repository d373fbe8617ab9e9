"""A dense projection, built when it is created."""

from __future__ import annotations

import keras


def built_dense(name: str, inputs: int, units: int, initializer, dtype, use_bias: bool = False):
    """Returns a `keras.layers.Dense` with a kernel (inputs, units).

    Args:
        name: The layer's name.
        inputs: Size of its input.
        units: Size of its output.
        initializer: Of the kernel; None takes uniform within 1 / sqrt(inputs), as the published state space
            models. Each layer gets a copy, because one seeded initializer object repeats its values.
        dtype: A dtype policy.
        use_bias: Whether there is a bias, initially zeros.
    """
    if initializer is None:
        initializer = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
    else:
        initializer = initializer.__class__.from_config(initializer.get_config())
    layer = keras.layers.Dense(
        units, use_bias=use_bias, kernel_initializer=initializer, dtype=dtype, name=name
    )
    layer.build((None, None, inputs))
    return layer
