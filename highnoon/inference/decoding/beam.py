"""Beam search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from highnoon.config.known_arguments import known_arguments
from highnoon.inference.decoding.compiled_loop import run_while
from highnoon.inference.decoding.decoder import decoder_for, padded_length
from highnoon.inference.decoding.session import Session, padded_stop_ids, require_drawn
from highnoon.inference.request import DEFAULT_MAX_LENGTH, Request
from highnoon.inference.require_number import refusal, require_number, require_whole

_NEVER = float("-inf")


@known_arguments
def generate_beam(
    model: Any,
    prompt: Any,
    num_beams: int = 4,
    max_length: int = DEFAULT_MAX_LENGTH,
    length_penalty: float = 1.0,
    stop_sequences: str | int | Sequence[str | int] | None = None,
    tokenizer: Any = None,
    max_new_tokens: int | None = None,
    strip_prompt: bool = False,
) -> Any:
    """Continues prompts by beam search, which looks for the most likely continuation.

    ```
    score(x[1..n]) = (sum over i of log p(x[i] | prompt, x[1..i-1])) / n ** length_penalty
    ```

    Each step keeps the `num_beams` most likely unfinished continuations of all those that are one token
    longer. One that reaches a stop id is finished; the search ends at the limit, or when no unfinished
    one could still beat the finished ones. One beam is greedy decoding.

    Args:
        model: A language model with a cache, see `generate`.
        prompt: As for `generate`; the prompts of a list are searched together.
        num_beams: Continuations kept, at least 1 and at most the ids that may be drawn.
        max_length: New tokens at most; the model's context is a limit too.
        length_penalty: Above 0 favors longer continuations, because the sum of logarithms falls with
            every token; 0 compares the sums. Not negative.
        stop_sequences: As for `generate`; a text does not end a continuation of the search; the result is
            cut at it.
        tokenizer: As for `generate`.
        max_new_tokens: Another name of `max_length`.
        strip_prompt: Whether to return only the new tokens.

    Returns:
        The prompt and its best continuation, in the form of `prompt`.

    Raises:
        ValueError: an argument out of its range, or as `generate`.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import generate_beam

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    ids = generate_beam(model, [2, 40, 41], num_beams=2, max_length=5)
    assert len(ids) == 8
    ```

    Graves 2012 (arXiv:1211.3711); the score is Wu et al. 2016 (arXiv:1609.08144), equation 14, with n in
    place of (5 + n) / 6.
    """
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
    num_beams = require_whole(
        "num_beams",
        num_beams,
        at_most=request.num_ids,
        expected=f"between 1 and the {request.num_ids} ids that may be drawn",
    )
    expected = "a number of at least 0"
    if require_number("length_penalty", expected, length_penalty) < 0:
        raise refusal("length_penalty", expected, length_penalty)
    new_ids = _search(request, num_beams, length_penalty)
    if request.stop_texts:
        new_ids = [request.continuation(row).up_to_stop(ids) for row, ids in enumerate(new_ids)]
    return request.give_back(new_ids, strip_prompt)


class _State(NamedTuple):
    """What changes during a search over r prompts with k beams each.

    Args:
        step: Scalar, the tokens read so far.
        index: Scalar, the cache slot of the next token.
        last: (r k,) the tokens to be read next.
        alive: (r, k) the summed log-probabilities of unfinished continuations, largest first.
        tokens: (r, k, n) their tokens.
        best: (r,) the score of the best finished continuation.
        best_tokens: (r, n) its tokens.
        best_count: (r,) how many they are; 0 where none is finished.
        is_done: (r,) bool, whether the search of a prompt has ended.
        cache: The model's cache, with r k rows.
    """

    step: Any
    index: Any
    last: Any
    alive: Any
    tokens: Any
    best: Any
    best_tokens: Any
    best_count: Any
    is_done: Any
    cache: Any


class _Inputs(NamedTuple):
    """What stays the same: (r k,) padding, (s,) stop ids, (r,) limits, and the scalar length penalty."""

    padding: Any
    stop_ids: Any
    limits: Any
    length_penalty: Any


def _search(request: Request, num_beams: int, length_penalty: float) -> list[list[int]]:
    rows = request.prompts.rows
    num_rows = len(rows)
    # The batch contains every prompt once for each beam; only the first of them counts at the start.
    copies = [row for row in rows for _ in range(num_beams)]
    session = Session(request.model, len(copies), padded_length(max(map(len, rows))) + max(request.limits))
    session.read_prompts(copies)
    alive = np.full((num_rows, num_beams), _NEVER, np.float32)
    alive[:, 0] = 0.0
    state = _State(
        step=np.asarray(0, np.int32),
        index=np.asarray(session.length, np.int32),
        last=np.asarray([row[-1] for row in copies], np.int32),
        alive=alive,
        tokens=np.zeros((num_rows, num_beams, session.capacity), np.int32),
        best=np.full(num_rows, _NEVER, np.float32),
        best_tokens=np.zeros((num_rows, session.capacity), np.int32),
        best_count=np.zeros(num_rows, np.int32),
        is_done=np.zeros(num_rows, bool),
        cache=session.cache,
    )
    inputs = _Inputs(
        padding=session.padding,
        stop_ids=padded_stop_ids(request.stop_ids),
        limits=np.asarray(request.limits, np.int32),
        length_penalty=np.asarray(length_penalty, np.float32),
    )
    num_ids = request.num_ids
    search = decoder_for(request.model).compiled(
        ("beam", num_beams, num_ids), lambda model, *args: _run(model, num_ids, *args)
    )
    state = search(state, inputs)
    tokens, counts = np.asarray(state.best_tokens), np.asarray(state.best_count)
    # A continuation that no finite score ever ended has no length.
    tokens = np.where(counts[:, None] == 0, -1, tokens)
    counts = np.maximum(counts, 1)
    return require_drawn([row[:count].tolist() for row, count in zip(tokens, counts, strict=True)])


def _run(model: Any, num_ids: int, state: _State, inputs: _Inputs) -> _State:
    return run_while(
        lambda now: ops.logical_not(ops.all(now.is_done)),
        lambda now: _lengthened(model, num_ids, now, inputs),
        state,
    )


def _lengthened(model: Any, num_ids: int, now: _State, inputs: _Inputs) -> _State:
    """One more token for every beam."""
    num_rows, num_beams = now.alive.shape
    logits, cache = model.decode(now.last[:, None], now.cache, now.index, padding=inputs.padding)
    log_probabilities = ops.log_softmax(ops.cast(logits[:, 0, :num_ids], "float32"), axis=-1)
    sums = now.alive[:, :, None] + ops.reshape(log_probabilities, (num_rows, num_beams, num_ids))
    is_stop = ops.any(ops.arange(num_ids, dtype="int32")[:, None] == inputs.stop_ids[None], axis=1)
    count = now.step + 1
    is_last = count >= inputs.limits
    ends = ops.where(ops.logical_or(is_stop[None, None], is_last[:, None, None]), sums, _NEVER)
    now = _with_best_end(now, ends, ops.cast(count, "float32") ** inputs.length_penalty)
    alive, chosen = ops.top_k(
        ops.reshape(ops.where(is_stop, _NEVER, sums), (num_rows, num_beams * num_ids)), num_beams
    )
    chosen = ops.cast(chosen, "int32")
    parents, drawn = chosen // num_ids, chosen % num_ids
    parent_rows = ops.reshape(ops.arange(num_rows, dtype="int32")[:, None] * num_beams + parents, (-1,))
    tokens = ops.take_along_axis(now.tokens, parents[:, :, None], axis=1)
    # The sum only falls and the scale only grows, so this is the most that a beam can still reach.
    reachable = alive[:, 0] / ops.cast(inputs.limits, "float32") ** inputs.length_penalty
    is_done = ops.logical_or(is_last, now.best >= reachable)
    return now._replace(
        step=count,
        index=now.index + 1,
        last=ops.reshape(drawn, (-1,)),
        alive=alive,
        tokens=ops.slice_update(tokens, [0, 0, now.step], drawn[:, :, None]),
        is_done=ops.logical_or(now.is_done, is_done),
        cache=keras.tree.map_structure(lambda leaf: ops.take(leaf, parent_rows, axis=0), cache),
    )


def _with_best_end(now: _State, ends: Any, scale: Any) -> _State:
    """Takes the best continuation that ends now, where it beats those that ended before.

    Args:
        now: The state before the step.
        ends: (r, k, v) summed log-probabilities, -inf for continuations that do not end.
        scale: Scalar, what divides a sum to make a score.
    """
    num_ids = ends.shape[2]
    flat = ops.reshape(ends, (ends.shape[0], -1))
    chosen = ops.cast(ops.argmax(flat, axis=1), "int32")
    score = ops.max(flat, axis=1) / scale
    is_better = ops.logical_and(ops.logical_not(now.is_done), score > now.best)
    parent = (chosen // num_ids)[:, None, None]
    tokens = ops.take_along_axis(now.tokens, parent, axis=1)[:, 0]
    tokens = ops.slice_update(tokens, [0, now.step], (chosen % num_ids)[:, None])
    return now._replace(
        best=ops.where(is_better, score, now.best),
        best_tokens=ops.where(is_better[:, None], tokens, now.best_tokens),
        best_count=ops.where(is_better, now.step + 1, now.best_count),
    )
