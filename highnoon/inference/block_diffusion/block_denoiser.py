"""Denoises one block: from masks to tokens, in a fixed number of steps."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from keras import ops

from highnoon.inference.block_diffusion.next_token_model import without_mask
from highnoon.inference.decoding.compiled_loop import run_while
from highnoon.inference.decoding.sampling import SamplingForm, SamplingValues
from highnoon.layers.attention.block_mask import BlockStep

ORDERS = ("random", "confidence")


@dataclasses.dataclass(frozen=True)
class DenoisingForm:
    """What a compiled denoiser depends on.

    Args:
        block_length: Tokens of a block, L.
        num_steps: Steps T for one block.
        order: `"random"` or `"confidence"`.
        mask_id: The id of the mask.
        sampling: How a token is chosen.
    """

    block_length: int
    num_steps: int
    order: str
    mask_id: int
    sampling: SamplingForm


class _State(NamedTuple):
    step: Any
    tokens: Any
    is_masked: Any


def denoise_block(
    model: Any,
    form: DenoisingForm,
    tokens: Any,
    is_known: Any,
    cache: Any,
    index: Any,
    padding: Any,
    uniforms: Any,
    sampling: SamplingValues,
) -> tuple[Any, Any]:
    """Returns the tokens (b, L) of the next block, and the cache with the block.

    Of the masked tokens step i of T reveals, where T - i steps follow it,

    ```
    "random"        each with probability 1 / (T - i + 1), independent of the others
    "confidence"    the most probable ones, 1 / (T - i + 1) of those that are left, rounded up
    ```

    and draws each from the model's distribution given what was revealed before. `"random"` is the reverse of
    the process that masks at an even rate: its samples have exactly the distribution whose likelihood
    `diffusion_bound` bounds with as many steps. `"confidence"` has another distribution, often of better text
    in few steps.

    Args:
        model: A model that takes blocks.
        form: What is fixed.
        tokens: (b, L), the known tokens; the others may be any.
        is_known: (b, L) bool.
        cache: Of the tokens before the block.
        index: Slot of the block's first token, a scalar.
        padding: (b,) empty slots at the front of each row; the block begins at a block's first position.
        uniforms: (b, T, 2, L) in [0, 1): which tokens are revealed in each step, and what they are.
        sampling: The numbers of the sampling.

    Sahoo et al. 2024, MDLM (arXiv:2406.07524), eq. 7; confidence: Chang et al. 2022, MaskGIT
    (arXiv:2202.04200), section 3.2.
    """
    noisy, clean = BlockStep(form.block_length, is_noisy=True), BlockStep(form.block_length)

    def reveal(now: _State) -> _State:
        ids = ops.where(now.is_masked, form.mask_id, now.tokens)
        logits, _ = model.decode(ids, cache, index, padding, blocks=noisy)
        numbers = ops.take(uniforms, now.step, axis=1)
        drawn, confidence = _drawn(without_mask(logits, form.mask_id), numbers[:, 1], form.sampling, sampling)
        num_left = ops.cast(form.num_steps - now.step, "float32")
        if form.order == "random":
            is_revealed = now.is_masked & (numbers[:, 0] * num_left < 1.0)
        else:
            is_revealed = now.is_masked & _is_best(confidence, now.is_masked, num_left)
        tokens = ops.where(is_revealed, drawn, now.tokens)
        return _State(now.step + 1, tokens, now.is_masked & ops.logical_not(is_revealed))

    def is_unfinished(now: _State) -> Any:
        return ops.logical_and(now.step < form.num_steps, ops.any(now.is_masked))

    start = _State(ops.zeros((), "int32"), ops.cast(tokens, "int32"), ops.logical_not(is_known))
    tokens = run_while(is_unfinished, reveal, start).tokens
    _, cache = model.decode(tokens, cache, index, padding, blocks=clean)
    return tokens, cache


def read_blocks(model: Any, block_length: int, token_ids: Any, cache: Any, padding: Any) -> Any:
    """Returns the cache with the tokens (b, t), complete blocks at slots from 0."""
    _, cache = model.decode(token_ids, cache, 0, padding, blocks=BlockStep(block_length))
    return cache


def _drawn(logits: Any, uniforms: Any, form: SamplingForm, values: SamplingValues) -> tuple[Any, Any]:
    """Tokens (b, L) and their probabilities."""
    shape = tuple(logits.shape[:2])
    flat = ops.reshape(logits, (-1, logits.shape[-1]))
    drawn = form.next_tokens(flat, ops.reshape(uniforms, (-1,)), (), values)
    log_probs = ops.log_softmax(flat, axis=-1)
    confidence = ops.take_along_axis(log_probs, ops.maximum(drawn, 0)[:, None], axis=-1)
    return ops.reshape(drawn, shape), ops.reshape(confidence, shape)


def _is_best(confidence: Any, is_masked: Any, num_left: Any) -> Any:
    """Whether a masked token is among the most probable ones that a step reveals; of equals the first."""
    count = ops.sum(ops.cast(is_masked, "float32"), axis=-1, keepdims=True)
    score = ops.where(is_masked, confidence, float("-inf"))
    order = ops.arange(score.shape[1])
    is_before = (score[:, None, :] > score[:, :, None]) | (
        (score[:, None, :] == score[:, :, None]) & (order[None, None, :] < order[None, :, None])
    )
    rank = ops.sum(ops.cast(is_before & is_masked[:, None, :], "float32"), axis=-1)
    return rank < ops.ceil(count / num_left)
