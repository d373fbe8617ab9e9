"""Published names of the variables that several families share: frame, norms, attention, feed-forwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.tensor_rules import SAME, STACKED, TRANSPOSED, Weight


class StackLayer(NamedTuple):
    """One layer of the stack, counted from 0; what it does not have is None."""

    number: int
    mixer_norm: Any
    mixer: Any
    feed_forward_norm: Any
    feed_forward: Any
    mixer_post_norm: Any
    feed_forward_post_norm: Any


def stack_layers(model: LanguageModel) -> Iterator[StackLayer]:
    """Yields the layers of all reasoning blocks, first to last."""
    number = 0
    for block in model.backbone.reasoning_blocks:
        pairs = iter(zip(block.feed_forward_norms, block.feed_forwards, strict=True))
        mixer_post_norms, post_norms = iter(block.mixer_post_norms), iter(block.feed_forward_post_norms)
        for norm, mixer, (_, kind) in zip(block.mixer_norms, block.mixers, block.pairs, strict=True):
            feed_forward_norm, feed_forward = next(pairs) if kind else (None, None)
            yield StackLayer(
                number,
                norm,
                mixer,
                feed_forward_norm,
                feed_forward,
                next(mixer_post_norms, None),
                next(post_norms, None) if kind else None,
            )
            number += 1


def norm(layer: keras.Layer, name: str) -> Weight:
    return Weight(layer.scale, (f"{name}.weight",), SAME)


def dense(layer: keras.Layer, name: str) -> Weight:
    return Weight(layer.kernel, (f"{name}.weight",), TRANSPOSED)


def dense_weights(layer: keras.Layer, name: str) -> Iterator[Weight]:
    """Yields the kernel and, where the layer has one, the bias."""
    yield dense(layer, name)
    if layer.use_bias:
        yield Weight(layer.bias, (f"{name}.bias",), SAME)


def frame_weights(model: LanguageModel, embedding: str, last_norm: str) -> Iterator[Weight]:
    """Yields the embedding, the last norm and, where it is not tied, the head."""
    layer = model.backbone.token_embedding
    yield Weight(layer.embeddings, (embedding,), SAME)
    yield norm(model.backbone.final_norm, last_norm)
    if not model.config.tie_embeddings:
        yield Weight(layer.reverse_embeddings, ("lm_head.weight",), TRANSPOSED)


def pair_norms(layer: StackLayer, prefix: str) -> Iterator[Weight]:
    yield norm(layer.mixer_norm, f"{prefix}.input_layernorm")
    yield norm(layer.feed_forward_norm, f"{prefix}.post_attention_layernorm")


def attention(layer: keras.Layer, prefix: str) -> Iterator[Weight]:
    """Yields grouped-query attention, and its norms of queries and keys where it has them."""
    yield from dense_weights(layer.query, f"{prefix}.q_proj")
    yield from dense_weights(layer.key, f"{prefix}.k_proj")
    yield from dense_weights(layer.value, f"{prefix}.v_proj")
    yield from dense_weights(layer.attention_output, f"{prefix}.o_proj")
    if layer.qk_norm:
        yield norm(layer.query_norm, f"{prefix}.q_norm")
        yield norm(layer.key_norm, f"{prefix}.k_norm")


def gated_feed_forward(layer: keras.Layer, prefix: str) -> Iterator[Weight]:
    for name in ("gate", "up", "down"):
        yield from dense_weights(getattr(layer, name), f"{prefix}.{name}_proj")


def experts(
    layer: keras.Layer, prefix: str, names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
) -> Iterator[Weight]:
    """Yields the router and the routed experts of a mixture; `names` of gate, up and down."""
    yield Weight(layer.router, (f"{prefix}.gate.weight",), TRANSPOSED)
    stack = layer.experts
    kernels = (stack.gate_kernel, stack.up_kernel, stack.down_kernel)
    for kernel, name in zip(kernels, names, strict=True):
        tensors = tuple(f"{prefix}.experts.{e}.{name}.weight" for e in range(layer.num_experts))
        yield Weight(kernel, tensors, STACKED)
