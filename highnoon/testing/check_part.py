"""What the numbers of a part must agree with: the layer that it builds, and the layer's cache."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.config import ConfigError
from highnoon.models import LanguageModel
from highnoon.models.memory import block_parts
from highnoon.models.parts import PARTS, MixerPart
from highnoon.models.pattern_text import split_pattern
from highnoon.testing.gradients import layer_gradients

_SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "embedding_dim": 32,
    "num_reasoning_blocks": 1,
    "num_heads": 2,
    "max_seq_length": 24,
}


def check_part(name: str, **fields: Any) -> None:
    """Fails where the numbers that a part gives differ from those of the layer that it builds.

    A tiny model with the part is built. `parameters` must be the number of the layer's weights, and a mixer's
    `cache_numbers` the numbers in its cache for one sequence of `max_seq_length` tokens. A mixer's
    `active_parameters` must be at most its `parameters`. A feed-forward's must be the number of weights that
    one token passes: all, but of a weight with three axes or more, such as the kernels of experts, only the
    slices along the first axis that have a gradient.

    Args:
        name: The registered name, with options as in a pattern: `"token_shift"`, `"moe(num_experts=3)"`.
        **fields: Fields of `ModelConfig` that differ from those of the tiny model, such as `embedding_dim`.

    Raises:
        AssertionError: naming the number, what the part gives and what the layer has.
        ConfigError: no part has the name.

    Example:

    ```python
    from highnoon.testing.check_part import check_part

    check_part("sliding_attention(sliding_window=8)")
    ```
    """
    entries = split_pattern(name)
    if [len(entry) for entry in entries] != [1]:
        raise ConfigError(f"`name` must be the name of one mixer or feed-forward; received {name!r}")
    is_mixer = issubclass(PARTS[entries[0][0].name], MixerPart)
    pattern = name if is_mixer else f"attention+{name}"
    model = LanguageModel(**{**_SHAPE, **fields, "block_pattern": pattern})
    block = model.backbone.reasoning_blocks[0]
    bound = next(bound for bound in block_parts(model.config) if bound.text == str(entries[0][0]))
    layer = block.mixers[0] if is_mixer else block.feed_forwards[0]
    part, config = bound.part, bound.config
    total, active = part.parameters(config), part.active_parameters(config)
    _assert_equal(f"`parameters` of `{name}`", total, layer.count_params(), "weights of its layer")
    if not is_mixer:
        passed = _weights_of_one_token(layer, config.embedding_dim)
        _assert_equal(f"`active_parameters` of `{name}`", active, passed, "weights that one token passes")
    assert 0 <= active <= total, (
        f"`active_parameters` of `{name}` is {active:,}; expected at most {total:,}, its `parameters`"
    )
    if is_mixer and part.is_causal:
        cache = keras.tree.flatten(layer.initial_cache(1, config.max_seq_length))
        numbers = sum(math.prod(tensor.shape) for tensor in cache)
        given = part.cache_numbers(config)
        _assert_equal(f"`cache_numbers` of `{name}`", given, numbers, "numbers in the cache of one sequence")


def _assert_equal(what: str, given: int, real: int, meaning: str) -> None:
    assert given == real, f"{what} is {given:,}; expected {real:,}, the {meaning}"


def _weights_of_one_token(layer: keras.Layer, width: int) -> int:
    """Counts weights, without the slices of kernels that have no gradient from a row of one token."""
    random = np.random.default_rng(0)
    for weight in layer.trainable_variables:  # a kernel of zeros would hide the gradient of others
        value = ops.convert_to_numpy(weight)
        weight.assign(value + 0.1 * random.standard_normal(value.shape).astype(value.dtype))
    x, target = random.standard_normal((2, 1, 1, width)).astype("float32")
    gradients = layer_gradients(layer, x, target)
    idle = 0
    for weight in layer.trainable_variables:
        gradient = gradients[weight.path]
        if gradient.ndim >= 3:
            is_used = gradient.reshape(len(gradient), -1).any(axis=1)
            idle += int((~is_used).sum()) * (gradient.size // len(gradient))
    return layer.count_params() - idle
