"""Generation by blocks: the tokens of a block are denoised together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from highnoon.config import require_choice
from highnoon.config.known_arguments import known_arguments
from highnoon.inference.block_diffusion.block_denoiser import (
    ORDERS,
    DenoisingForm,
    denoise_block,
    read_blocks,
)
from highnoon.inference.block_diffusion.diffusion_outputs import mask_id_of
from highnoon.inference.decoding.decoder import decoder_for
from highnoon.inference.decoding.session import Session, require_drawn
from highnoon.inference.generation_hints import GENERATION_HINTS
from highnoon.inference.request import DEFAULT_MAX_LENGTH, Request
from highnoon.inference.require_number import require_whole


@known_arguments(hints=GENERATION_HINTS)
def generate_blocks(
    model: Any,
    prompts: Any,
    max_length: int = DEFAULT_MAX_LENGTH,
    block_length: int = 16,
    num_steps: int | None = None,
    order: str = "random",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    stop_sequences: str | int | Sequence[str | int] | None = None,
    tokenizer: Any = None,
    seed: int | None = None,
    max_new_tokens: int | None = None,
    strip_prompt: bool = False,
) -> Any:
    """Continues prompts with a model of block diffusion, block by block.

    Each block starts as masks, is denoised in `num_steps` passes that read the cache, and is then
    read into the cache once. With `order="random"` and without `top_k`, `top_p` and a temperature the samples
    have exactly the distribution of the model's discrete process with `num_steps` steps for a block; its
    likelihood is at least what `diffusion_bound` says. With blocks of one token that is `generate`.

    Blocks are those of training: they are counted from the second token of the text. Where a prompt ends
    within a block, its tokens are revealed in that block from the first step on.

    Args:
        model: A model that was trained with `objective="block_diffusion"`.
        prompts: As in `generate`.
        max_length: New tokens at most; the model's context is a limit too.
        block_length: Tokens of a block, at least 1; one of the training's `block_sizes`.
        num_steps: Passes for one block, at least 1; None takes `block_length`. Fewer are faster, and treat
            tokens that are revealed in one step as independent.
        order: Which tokens a step reveals: `"random"` or `"confidence"`, see `denoise_block`.
        temperature: Divides the logits; 0 takes the most likely token.
        top_k: Draws from this many most likely tokens; 0 or None from all.
        top_p: Draws from the fewest most likely tokens with this mass, in (0, 1].
        stop_sequences: As in `generate`.
        tokenizer: As in `generate`.
        seed: Fixes the random numbers; those of a row depend on the seed and the row's index alone.
        max_new_tokens: Another name of `max_length`.
        strip_prompt: Whether to return only the new tokens.

    Returns:
        The prompt and what continues it, in the form of `prompts`, as in `generate`.

    Raises:
        ConfigError: the model is none of block diffusion, or `order` is another.
        ValueError: as in `generate`, or `block_length` or `num_steps` is below 1.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import generate_blocks
    from highnoon.training import BlockDiffusion

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1, block_pattern="attention+mlp")
    model.outputs_description = BlockDiffusion(mask_id=6).describe_outputs()
    ids = generate_blocks(model, [2, 40, 41], max_length=8, block_length=4, seed=1)
    assert len(ids) == 11 and 6 not in ids
    ```

    Arriola et al. 2025, Block Diffusion (arXiv:2503.09573), algorithm 2.
    """
    mask_id = mask_id_of(model)
    block_length = require_whole("block_length", block_length)
    num_steps = block_length if num_steps is None else require_whole("num_steps", num_steps)
    require_choice("order", order, ORDERS)
    request = Request.read(
        model,
        prompts,
        max_length,
        temperature,
        top_k,
        top_p,
        stop_sequences=stop_sequences,
        tokenizer=tokenizer,
        seed=seed,
        max_new_tokens=max_new_tokens,
    )
    form = DenoisingForm(block_length, num_steps, order, mask_id, request.sampling.form(request.num_ids))
    return request.give_back(_Generation(model, request, form).run(), strip_prompt)


class _Layout(NamedTuple):
    """Where the prompts are: complete blocks in the cache, padded on the left, and tokens that begin a block.

    Args:
        heads: (b, p) the first token and the complete blocks of each prompt.
        padding: (b,) empty slots before them, a multiple of the block length.
        rests: The other tokens of each prompt, fewer than a block.
    """

    heads: np.ndarray
    padding: np.ndarray
    rests: list[list[int]]


class _Generation:
    """The rows of a request, block by block."""

    def __init__(self, model: Any, request: Request, form: DenoisingForm) -> None:
        self._model, self._request, self._form = model, request, form
        self._layout = _layout(request.prompts.rows, form.block_length)
        self._new: list[list[int]] = [[] for _ in request.prompts.rows]
        self._is_done = [False] * len(self._new)

    def run(self) -> list[list[int]]:
        """Returns the new ids of each row, up to its stop."""
        heads, padding, rests = self._layout
        length, request = self._form.block_length, self._request
        most = max(
            -(-(len(rest) + limit) // length) for rest, limit in zip(rests, request.limits, strict=True)
        )
        session = Session(self._model, len(rests), heads.shape[1] + most * length)
        decoder, form = decoder_for(self._model), self._form
        read = decoder.compiled(
            ("read_blocks", length), lambda model, *args: read_blocks(model, length, *args)
        )
        denoise = decoder.compiled(("denoise", form), lambda model, *args: denoise_block(model, form, *args))
        cache = read(heads, session.cache, padding)
        for number in range(most):
            tokens, is_known = self._begun(rests if number == 0 else [[]] * len(rests))
            index = np.asarray(heads.shape[1] + number * length, np.int32)
            values = request.sampling.values(request.num_ids)
            drawn, cache = denoise(tokens, is_known, cache, index, padding, self._uniforms(number), values)
            self._take(np.asarray(drawn), is_known)
            if all(self._is_done):
                break
        return require_drawn(self._new)

    def _begun(self, known: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of a block of which the first are known, and which these are."""
        tokens = np.zeros((len(known), self._form.block_length), np.int32)
        is_known = np.zeros(tokens.shape, bool)
        for row, ids in enumerate(known):
            tokens[row, : len(ids)], is_known[row, : len(ids)] = ids, True
        return tokens, is_known

    def _uniforms(self, number: int) -> np.ndarray:
        """The random numbers of a block: (b, steps, 2, length)."""
        shape = (self._form.num_steps, 2, self._form.block_length)
        states = ([self._request.seed, row, number] for row in range(len(self._new)))
        return np.stack([np.random.default_rng(state).random(shape, np.float32) for state in states])

    def _take(self, drawn: np.ndarray, is_known: np.ndarray) -> None:
        """Appends the new tokens of a block to the rows that have not ended."""
        for row, new in enumerate(self._new):
            if self._is_done[row]:
                continue
            new += drawn[row][~is_known[row]].tolist()
            kept = self._up_to_stop(row, new)
            self._is_done[row] = len(kept) < len(new) or self._has_ended(row, kept)
            self._new[row] = kept

    def _up_to_stop(self, row: int, ids: list[int]) -> list[int]:
        request = self._request
        ids = ids[: request.limits[row]]
        stops = [index for index, token in enumerate(ids) if token in request.stop_ids]
        ids = ids[: stops[0] + 1] if stops else ids
        return request.continuation(row).up_to_stop(ids) if request.stop_texts else ids

    def _has_ended(self, row: int, ids: list[int]) -> bool:
        request = self._request
        is_stopped = bool(ids) and ids[-1] in request.stop_ids
        is_stopped |= bool(request.stop_texts) and request.continuation(row).is_stopped(ids)
        return is_stopped or len(ids) >= request.limits[row]


def _layout(rows: Sequence[Sequence[int]], block_length: int) -> _Layout:
    sizes = [1 + (len(row) - 1) // block_length * block_length for row in rows]
    # One of few lengths, so that few shapes are compiled.
    num_blocks = max(size - 1 for size in sizes) // block_length
    width = 1 + block_length * (1 << (num_blocks - 1).bit_length() if num_blocks else 0)
    heads = np.zeros((len(rows), width), np.int32)
    for index, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        heads[index, width - size :] = row[:size]
    padding = np.asarray([width - size for size in sizes], np.int32)
    return _Layout(heads, padding, [list(row[size:]) for row, size in zip(rows, sizes, strict=True)])
