"""Calibrates new models: layers that measure their inputs once, before they are trained."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np

_ROWS = 8
_LENGTH = 128
_SEED = 0
_EXPONENT = 1.05


def calibrate(model: Any) -> None:
    """Lets the layers of a new model that have a method `calibrating` set themselves by their inputs.

    The model reads rows of random ids once, outside of a graph and without dropout, while each such layer is
    within `with layer.calibrating():`. Inputs of deeper layers then come from layers that are calibrated. A
    model without such layers is not run.

    The ids follow Zipf's distribution, where the k-th most frequent has a probability proportional to
    k^-1.05, since what is repeated adds up in layers with a state: ids of one frequency repeat too rarely,
    and neurons that are calibrated on them fire 1.4 times as often on text. With this exponent, bytes of
    English and of Python repeat about as often. The ids are the same for every model of one vocabulary and
    take nothing from Keras's random streams.

    `create_model` calls this; a model that is read from a file has the result among its weights.

    Args:
        model: A language model whose backbone takes token ids.

    Example:

    ```python
    from highnoon.models import LanguageModel
    from highnoon.models.calibration import calibrate

    model = LanguageModel(
        vocab_size=50, embedding_dim=32, num_reasoning_blocks=1, block_pattern="spiking_bdh(multiplier=4)"
    )
    calibrate(model)
    ```
    """
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "calibrating")]
    if not layers:
        return
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(layer.calibrating())
        model.backbone(calibration_ids(model.vocab_size, min(_LENGTH, model.max_seq_length)), training=False)


def calibration_ids(vocab_size: int, length: int) -> np.ndarray:
    """Returns 8 rows of ids from 1 by Zipf's distribution."""
    random = np.random.default_rng(_SEED)
    weights = np.arange(1, max(vocab_size, 2), dtype="float64") ** -_EXPONENT
    ids = 1 + random.permutation(len(weights))
    return random.choice(ids, (_ROWS, length), p=weights / weights.sum()).astype("int32")
