"""Contrastive search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from highnoon.config.known_arguments import known_arguments
from highnoon.inference.block_diffusion.diffusion_outputs import is_diffusion
from highnoon.inference.decoding.compiled_loop import run_while
from highnoon.inference.decoding.decoder import PIECES, decoder_for, padded_length
from highnoon.inference.decoding.session import Session, padded_stop_ids, require_drawn
from highnoon.inference.request import DEFAULT_MAX_LENGTH, Request
from highnoon.inference.require_number import refusal, require_number, require_whole


@known_arguments
def generate_contrastive(
    model: Any,
    prompt: Any,
    top_k: int = 4,
    penalty_alpha: float = 0.6,
    max_length: int = DEFAULT_MAX_LENGTH,
    stop_sequences: str | int | Sequence[str | int] | None = None,
    tokenizer: Any = None,
    max_new_tokens: int | None = None,
    strip_prompt: bool = False,
) -> Any:
    """Continues prompts by contrastive search, which is deterministic.

    ```
    x[t] = argmax over the top_k v of  (1 - alpha) p(v | x[:t]) - alpha max over s < t of cos(h[v], h[s])
    ```

    h are the hidden states that the head reads, of the candidate and of every token before it. Each
    token costs one pass over `top_k` rows. An alpha of 0 is greedy decoding.

    Args:
        model: A language model with a cache and a `backbone` with `step`.
        prompt: As for `generate`; the prompts of a list are continued together.
        top_k: Candidates, at least 1 and at most the ids that may be drawn.
        penalty_alpha: Weight of the similarity to the tokens before, in [0, 1].
        max_length: New tokens at most; the model's context is a limit too.
        stop_sequences: As for `generate`; the result is cut at a text.
        tokenizer: As for `generate`.
        max_new_tokens: Another name of `max_length`.
        strip_prompt: Whether to return only the new tokens.

    Returns:
        The prompt and what continues it, in the form of `prompt`.

    Raises:
        ValueError: an argument out of its range, or as `generate`.
        TypeError: a model without a backbone.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import generate_contrastive

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    ids = generate_contrastive(model, [2, 40, 41], top_k=3, max_length=5)
    assert len(ids) == 8
    ```

    Su et al. 2022, "A contrastive framework for neural text generation" (arXiv:2202.06417), equation 5.
    """
    if not hasattr(getattr(model, "backbone", None), "step"):
        raise TypeError(
            "contrastive search needs a model with a `backbone` that has `step`; "
            f"received a {type(model).__name__}"
        )
    if is_diffusion(model):
        raise TypeError(
            "contrastive search reads hidden states of the next token, which a model of block diffusion has "
            "for masks alone; use `generate` or `generate_blocks`"
        )
    request = Request.read(
        model,
        prompt,
        max_length,
        temperature=0,
        stop_sequences=stop_sequences,
        tokenizer=tokenizer,
        seed=0,
        max_new_tokens=max_new_tokens,
    )
    top_k = require_whole(
        "top_k",
        top_k,
        at_most=request.num_ids,
        expected=f"between 1 and the {request.num_ids} ids that may be drawn",
    )
    if not 0 <= require_number("penalty_alpha", "in [0, 1]", penalty_alpha) <= 1:
        raise refusal("penalty_alpha", "in [0, 1]", penalty_alpha)
    new_ids = _search(request, top_k, penalty_alpha)
    if request.stop_texts:
        new_ids = [request.continuation(row).up_to_stop(ids) for row, ids in enumerate(new_ids)]
    return request.give_back(new_ids, strip_prompt)


class _State(NamedTuple):
    """What changes during a search over r prompts with k candidates each.

    Args:
        step: Scalar, the tokens drawn so far.
        index: Scalar, the cache slot of the next token.
        tokens: (r, n) the tokens drawn.
        counts: (r,) how many they are.
        is_done: (r,) bool, the rows that have ended.
        memory: (r, s, d) the direction of the hidden state in each cache slot.
        probabilities: (r, v) the distribution of the next token.
        cache: The model's cache, with r k rows.
    """

    step: Any
    index: Any
    tokens: Any
    counts: Any
    is_done: Any
    memory: Any
    probabilities: Any
    cache: Any


class _Inputs(NamedTuple):
    """What stays the same: (r k,) padding, (s,) stop ids, (r,) limits, and the scalar alpha."""

    padding: Any
    stop_ids: Any
    limits: Any
    alpha: Any


class _Reading(NamedTuple):
    """What the model makes of tokens (b, t).

    Args:
        directions: (b, t, d) hidden states of norm 1.
        probabilities: (b, v) the next-token distribution after the last token.
        cache: The model's cache.
    """

    directions: Any
    probabilities: Any
    cache: Any


def _search(request: Request, top_k: int, penalty_alpha: float) -> list[list[int]]:
    rows, num_ids = request.prompts.rows, request.num_ids
    # The batch contains every prompt once for each candidate.
    batch_size = len(rows) * top_k
    session = Session(request.model, batch_size, padded_length(max(map(len, rows))) + max(request.limits))
    length, memory, probabilities = _read_prompts(session, rows, num_ids)
    state = _State(
        step=np.asarray(0, np.int32),
        index=np.asarray(length, np.int32),
        tokens=np.zeros((len(rows), session.capacity), np.int32),
        counts=np.zeros(len(rows), np.int32),
        is_done=np.zeros(len(rows), bool),
        memory=memory,
        probabilities=probabilities,
        cache=session.cache,
    )
    inputs = _Inputs(
        padding=session.padding,
        stop_ids=padded_stop_ids(request.stop_ids),
        limits=np.asarray(request.limits, np.int32),
        alpha=np.asarray(penalty_alpha, np.float32),
    )
    search = decoder_for(request.model).compiled(
        ("contrastive", top_k, num_ids), lambda model, *args: _run(model, top_k, num_ids, *args)
    )
    state = search(state, inputs)
    tokens, counts = np.asarray(state.tokens), np.asarray(state.counts)
    return require_drawn([row[:count].tolist() for row, count in zip(tokens, counts, strict=True)])


def _read_prompts(
    session: Session, rows: Sequence[Sequence[int]], num_ids: int
) -> tuple[int, np.ndarray, np.ndarray]:
    """Reads complete prompts into an empty session, each into as many rows as the session has for it.

    Returns:
        The cache slots in use, the hidden states' directions by slot (r, s, d), and the next-token
        distribution (r, v).
    """
    num_copies = session.batch_size // len(rows)
    ids, session.padding = _padded([row for row in rows for _ in range(num_copies)])
    read = decoder_for(session.model).compiled(
        ("read_hidden", num_ids), lambda model, *args: _read(model, num_ids, *args)
    )
    directions, probabilities = [], None
    for start, stop in _pieces(ids.shape[1]):
        index = np.asarray(start, np.int32)
        reading = read(ids[:, start:stop], session.cache, index, session.padding)
        directions.append(ops.convert_to_numpy(reading.directions)[::num_copies])
        probabilities, session.cache = reading.probabilities, reading.cache
    memory = np.zeros((len(rows), session.capacity, directions[0].shape[-1]), np.float32)
    memory[:, : ids.shape[1]] = np.concatenate(directions, axis=1)
    return ids.shape[1], memory, ops.convert_to_numpy(probabilities)[::num_copies]


def _padded(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns complete prompts, padded on the left to a few lengths, and each row's amount of padding."""
    length = padded_length(max(map(len, rows)))
    ids = np.zeros((len(rows), length), np.int32)
    for index, row in enumerate(rows):
        ids[index, length - len(row) :] = row
    return ids, np.asarray([length - len(row) for row in rows], np.int32)


def _pieces(length: int) -> list[tuple[int, int]]:
    pieces, start = [], 0
    for size in PIECES:
        while length - start >= size:
            pieces.append((start, start + size))
            start += size
    return pieces


def _read(model: Any, num_ids: int, token_ids: Any, cache: Any, index: Any, padding: Any) -> _Reading:
    hidden, cache = model.backbone.step(token_ids, cache, index, padding)
    logits = model._logits(hidden[:, -1])[:, :num_ids]
    directions = ops.normalize(ops.cast(hidden, "float32"), axis=-1)
    return _Reading(directions, ops.softmax(ops.cast(logits, "float32"), axis=-1), cache)


def _run(model: Any, top_k: int, num_ids: int, state: _State, inputs: _Inputs) -> _State:
    return run_while(
        lambda now: ops.logical_not(ops.all(now.is_done)),
        lambda now: _lengthened(model, top_k, num_ids, now, inputs),
        state,
    )


def _lengthened(model: Any, top_k: int, num_ids: int, now: _State, inputs: _Inputs) -> _State:
    """One more token for every row: reads each candidate and keeps one of them."""
    num_rows, _, width = now.memory.shape
    probabilities, ids = ops.top_k(now.probabilities, top_k)
    ids = ops.cast(ids, "int32")
    reading = _read(model, num_ids, ops.reshape(ids, (-1, 1)), now.cache, now.index, inputs.padding)
    directions = ops.reshape(reading.directions, (num_rows, top_k, width))
    best = _best_candidate(probabilities, _similarity(directions, top_k, now, inputs), inputs.alpha)
    chosen = ops.arange(num_rows, dtype="int32") * top_k + best
    drawn = ops.take_along_axis(ids, best[:, None], axis=1)
    drawn = ops.where(ops.isnan(ops.max(probabilities, axis=-1, keepdims=True)), -1, drawn)
    kept = ops.take_along_axis(directions, best[:, None, None], axis=1)
    kept_rows = ops.repeat(chosen, top_k)
    is_stop = ops.any(drawn == inputs.stop_ids[None], axis=1)
    is_full = now.step + 1 >= inputs.limits
    return _State(
        step=now.step + 1,
        index=now.index + 1,
        tokens=ops.slice_update(now.tokens, [0, now.step], drawn),
        counts=now.counts + ops.cast(ops.logical_not(now.is_done), "int32"),
        is_done=ops.logical_or(now.is_done, ops.logical_or(is_stop, is_full)),
        memory=ops.slice_update(now.memory, [0, now.index, 0], kept),
        probabilities=ops.take(reading.probabilities, chosen, axis=0),
        cache=keras.tree.map_structure(lambda leaf: ops.take(leaf, kept_rows, axis=0), reading.cache),
    )


def _similarity(directions: Any, top_k: int, now: _State, inputs: _Inputs) -> Any:
    """Returns (r, k), the largest cosine between each candidate and a token before it."""
    cosines = ops.einsum("bkd,bsd->bks", directions, now.memory)
    slots = ops.arange(now.memory.shape[1], dtype="int32")[None]
    is_before = ops.logical_and(slots < now.index, slots >= inputs.padding[::top_k, None])
    return ops.max(ops.where(is_before[:, None], cosines, -1.0), axis=-1)


def _best_candidate(probabilities: Any, similarity: Any, alpha: Any) -> Any:
    """Returns (r,) int32, the index of the candidate with the largest score."""
    score = (1.0 - alpha) * probabilities - alpha * similarity
    return ops.cast(ops.argmax(score, axis=-1), "int32")
