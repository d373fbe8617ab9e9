"""Loads weights of the published BDH code into a model of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from highnoon.config import ConfigError, ModelConfig, require_count
from highnoon.layers.hatching.adjacent_rotation import pair_frequencies
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.dtypes import resolve_dtype
from highnoon.models.hatching.bdh_tensors import bdh_tensors
from highnoon.models.memory import require_memory
from highnoon.models.saving import ModelFolderError
from highnoon.tokenization.byte_tokenizer import ByteTokenizer
from highnoon.tokenization.special_tokens import FIRST_BYTE_ID

_AXES = {
    "embed.weight": "vd",
    "encoder": "hdn",
    "encoder_v": "hdn",
    "decoder": "(hn)d",
    "lm_head": "dv",
}
_FREQUENCIES = "attn.freqs"
_BYTES = 256


def load_bdh(
    source: Any,
    num_reasoning_blocks: int = 6,
    max_seq_length: int = 512,
    byte_tokenizer: bool | None = None,
    dtype: Any = "auto",
    allow_oversize: bool = False,
) -> LanguageModel:
    """Loads weights that the code of github.com/pathwaycom/bdh has trained; the logits are the same.

    The sizes follow from the shapes of `embed.weight`, `encoder`, `encoder_v`, `decoder` and `lm_head`. How
    often the one block is applied does not: its weights are the same for any number.

    Args:
        source: The state dict, as a mapping of names to arrays or tensors, or its file: `.safetensors`,
            `.npz`, or `.pt` and `.pth`, which need PyTorch and are read with `weights_only=True`.
        num_reasoning_blocks: Applications of the block, `n_layer` of the published configuration.
        max_seq_length: Longest sequence in tokens; the weights set no limit.
        byte_tokenizer: Whether ids are those of `ByteTokenizer`, byte + 7, which the model then carries, so
            that it generates text. The embedding of special ids is zero, so that a begin token before a text
            changes nothing; their head is the mean of the bytes' heads, so that each has a probability of at
            most 1/256. False keeps the ids as they are; None does so unless there are 256.
        dtype: A dtype policy, as in `create_model`.
        allow_oversize: Load even a model that does not fit into this machine's memory.

    Raises:
        ModelFolderError: a tensor is missing, unknown, of another shape, not finite, or the file cannot be
            read.
        ConfigError: a size that cannot be used, or `byte_tokenizer` for another vocabulary than 256.
        ImportError: a file of PyTorch without PyTorch.

    Example:

    ```python
    import numpy as np
    from highnoon.models.hatching import load_bdh

    random = np.random.default_rng(0)
    shapes = {"embed.weight": (256, 16), "encoder": (2, 16, 32), "encoder_v": (2, 16, 32)}
    shapes |= {"decoder": (64, 16), "lm_head": (16, 256)}
    weights = {name: random.normal(0, 0.02, shape) for name, shape in shapes.items()}
    model = load_bdh(weights, num_reasoning_blocks=2)
    text = model.generate("To be", max_length=4)
    ```

    Kosowski et al. 2025, The Dragon Hatchling (arXiv:2509.26507), appendix E.
    """
    require_count("num_reasoning_blocks", num_reasoning_blocks)
    tensors = bdh_tensors(source)
    sizes = _sizes(tensors)
    is_bytes = sizes["v"] == _BYTES
    if byte_tokenizer and not is_bytes:
        raise ConfigError(
            f"`byte_tokenizer` must be left out for a vocabulary of {sizes['v']:,} ids; it needs {_BYTES}"
        )
    byte_tokenizer = is_bytes if byte_tokenizer is None else byte_tokenizer
    config = ModelConfig(
        vocab_size=sizes["v"] + (FIRST_BYTE_ID if byte_tokenizer else 0),
        embedding_dim=sizes["d"],
        num_heads=sizes["h"],
        num_reasoning_blocks=num_reasoning_blocks,
        max_seq_length=max_seq_length,
        block_pattern=f"bdh(multiplier={sizes['h'] * sizes['n'] // sizes['d']})",
        share_blocks=True,
        embedding_norm="layer",
        final_norm=False,
        tie_embeddings=False,
        initializer_range=0.02,
    )
    require_memory(config, allow_oversize)
    model = LanguageModel(
        config=config,
        dtype=resolve_dtype(dtype),
        tokenizer=ByteTokenizer() if byte_tokenizer else None,
    )
    _assign(model, tensors, byte_tokenizer)
    return model


def _sizes(tensors: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Returns the sizes v, d, h and n, after checking all names, shapes and values."""
    missing = [name for name in _AXES if name not in tensors]
    unknown = [name for name in tensors if name not in _AXES and name != _FREQUENCIES]
    if missing or unknown:
        raise ModelFolderError(
            f"a BDH model has the tensors {', '.join(_AXES)}; missing: {', '.join(missing) or 'none'}; "
            f"unknown: {', '.join(map(repr, unknown[:5])) or 'none'}"
        )
    for name, axes in (("embed.weight", 2), ("encoder", 3)):
        if tensors[name].ndim != axes or 0 in tensors[name].shape:
            raise ModelFolderError(
                f"`{name}` must have {axes} axes and no empty one; received {tuple(tensors[name].shape)}"
            )
    vocab_size, width = tensors["embed.weight"].shape
    heads, _, neurons = tensors["encoder"].shape
    sizes = {"v": vocab_size, "d": width, "h": heads, "n": neurons}
    for name, axes in _AXES.items():
        expected = (heads * neurons, width) if axes == "(hn)d" else tuple(sizes[axis] for axis in axes)
        array = tensors[name]
        if tuple(array.shape) != expected:
            raise ModelFolderError(f"`{name}` must have the shape {expected}; received {tuple(array.shape)}")
        if array.dtype.kind not in "fV" or not np.isfinite(array.astype("float32")).all():
            raise ModelFolderError(f"`{name}` must hold finite floats; received {array.dtype} values")
    if heads * neurons % width:
        raise ModelFolderError(
            f"{heads * neurons:,} neurons must be a multiple of the width {width}; received other shapes"
        )
    if _FREQUENCIES in tensors:
        _require_frequencies(tensors[_FREQUENCIES], neurons)
    return sizes


def _require_frequencies(given: np.ndarray, neurons: int) -> None:
    """Checks the buffer that the published model stores: each pair of neurons has one frequency."""
    expected = np.repeat(pair_frequencies(neurons), 2)
    if given.size != neurons or not np.allclose(given.ravel().astype("float32"), expected, rtol=1e-5, atol=0):
        raise ModelFolderError(f"`{_FREQUENCIES}` holds other frequencies than those of the published code")


def _assign(model: LanguageModel, tensors: Mapping[str, np.ndarray], byte_tokenizer: bool) -> None:
    arrays = {name: tensors[name].astype("float32") for name in _AXES}
    rows, head = arrays["embed.weight"], arrays["lm_head"]
    if byte_tokenizer:
        rows = np.concatenate([np.zeros((FIRST_BYTE_ID, rows.shape[1]), "float32"), rows])
        head = np.concatenate([np.repeat(head.mean(1, keepdims=True), FIRST_BYTE_ID, axis=1), head], axis=1)
    embedding, layer = model.backbone.token_embedding, model.backbone.reasoning_blocks[0].mixers[0]
    embedding.embeddings.assign(rows)
    embedding.reverse_embeddings.assign(head)
    for name in ("encoder", "encoder_v", "decoder"):
        getattr(layer, name).assign(arrays[name])
