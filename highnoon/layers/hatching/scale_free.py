"""An initializer whose neurons have few or many inputs, by a power of their number."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.config import require_number

_MEAN_FRACTION = 0.1  # of the features, that a neuron has as inputs on average


@keras.saving.register_keras_serializable(package="highnoon")
class ScaleFree(keras.initializers.Initializer):
    """Sets all but a random number k of each neuron's inputs to zero, with P(k) proportional to k^-gamma.

    ```
    k = min(d, k_min (1 - u)^(-1 / (gamma - 1)))        u uniform in [0, 1)
    k_min = d / 10 * (gamma - 2) / (gamma - 1)           so that the mean is d / 10 before the bound d
    ```

    k is rounded up. The inputs that are left are multiplied by sqrt(d / k), so that every neuron receives the
    same variance. This is a start: training may change every weight, also those that begin at zero.

    Args:
        initializer: Of the values.
        gamma: The exponent, above 2.
        seed: An integer, or None for Keras's global one.

    Raises:
        ValueError: `gamma` is not above 2, where the mean of k does not exist.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.hatching.scale_free import ScaleFree

    kernel = np.asarray(ScaleFree("ones", gamma=2.5, seed=1)((64, 100)))
    assert 0.02 < (kernel != 0).mean() < 0.3
    ```

    Barabasi & Albert 1999, Emergence of Scaling in Random Networks (arXiv:cond-mat/9910332).
    """

    def __init__(self, initializer, gamma: float = 2.5, seed=None) -> None:
        self.initializer = keras.initializers.get(initializer)
        self.gamma = require_number("gamma", gamma, above=2)
        self.seed = seed

    def __call__(self, shape, dtype=None):
        """Returns a kernel (.., d, n)."""
        features = shape[-2]
        seeds = keras.random.SeedGenerator(self.seed)
        uniform = keras.random.uniform((*shape[:-2], 1, shape[-1]), dtype="float32", seed=seeds)
        least = _MEAN_FRACTION * features * (self.gamma - 2) / (self.gamma - 1)
        degree = ops.ceil(least * (1.0 - uniform) ** (-1.0 / (self.gamma - 1)))
        degree = ops.minimum(degree, float(features))
        # The inputs with the k smallest of d random numbers.
        noise = keras.random.uniform(shape, dtype="float32", seed=seeds)
        index = ops.cast(degree, "int32") - 1
        bound = ops.take_along_axis(ops.sort(noise, axis=-2), index, axis=-2)
        values = self.initializer(shape, dtype="float32") * ops.sqrt(features / degree)
        return ops.cast(ops.where(noise <= bound, values, 0.0), dtype or "float32")

    def get_config(self):
        return {
            "initializer": keras.saving.serialize_keras_object(self.initializer),
            "gamma": self.gamma,
            "seed": self.seed,
        }
