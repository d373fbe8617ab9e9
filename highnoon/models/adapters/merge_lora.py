"""Adds LoRA factors into the kernels of a model, in place."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.models.adapters.adapter_file import AdapterError
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.lora_factors import factor_names, layers_with_factors, remove_factors


def merge_lora(model: LanguageModel) -> int:
    """Adds the factors of `enable_lora` into their kernels, and removes them; `model.merge_lora` calls it.

    ```
    W <- W + (alpha / rank) A B
    ```

    One layer is changed at a time, so that memory for a second copy of the weights is never needed.
    Afterwards the model computes what it did (up to rounding in the kernel's type), no weight is frozen any
    more, and decoding is as fast as without LoRA. Training continues with a new run: a checkpoint of the run
    with factors, and its optimizer's slots, fit the model before the merge.

    Args:
        model: A `LanguageModel` with LoRA factors.

    Returns:
        How many layers were merged.

    Raises:
        AdapterError: the model has no factors, or a layer with factors is quantized, whose few levels
            would round them away; nothing has changed.

    Hu et al. 2021, LoRA (arXiv:2106.09685), section 4.1.
    """
    layers = layers_with_factors(model.backbone)
    if not layers:
        raise AdapterError("the model has no LoRA factors to merge; call `enable_lora` or `load_adapter`")
    for layer in layers.values():
        if layer.quantization_mode:
            raise AdapterError(
                f"`{layer.path}` is quantized to {layer.quantization_mode}, which would round its factors "
                "away; "
                "save them by `save_adapter`, load them onto the model before `quantize`, and merge there"
            )
    for layer in layers.values():
        _merge_layer(layer)
    model.backbone.lora = None
    for layer in model.backbone._flatten_layers(include_self=False):
        layer.trainable = True
        for variable in layer._trainable_variables:  # Keras leaves them where the layer is trainable already
            variable.trainable = True
    return len(layers)


def _merge_layer(layer: keras.Layer) -> None:
    first, second = (getattr(layer, name) for name in factor_names(layer))
    variable = getattr(layer, "_kernel" if hasattr(layer, "_kernel") else "_embeddings")
    change = (layer.lora_alpha / layer.lora_rank) * ops.matmul(first, second)
    merged = ops.add(ops.cast(variable, "float32"), ops.cast(change, "float32"))
    variable.assign(ops.cast(merged, variable.dtype))
    remove_factors(layer)
