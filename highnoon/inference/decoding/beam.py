"""Search for the most likely continuation, several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.inference.decoding.decoder import decoder_for, padded_length
from highnoon.inference.decoding.session import Session, padded_stop_ids, require_drawn
from highnoon.inference.request import DEFAULT_MAX_LENGTH, Request
from highnoon.inference.require_number import refusal, require_number, require_whole

_NEVER = float("-inf")


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
    """Continues prompts with the likeliest of the continuations that a beam search meets.

    ```
    score(x[1..n]) = (sum over i of log p(x[i] | prompt, x[1..i-1])) / n ** length_penalty
    ```

    At each step the `num_beams` likeliest unfinished continuations are kept, of all those that are one
    token longer. One that reaches a stop id is finished; the search ends at the limit, or when no
    unfinished one could still beat the finished ones. One beam is greedy decoding.

    Args:
        model: A language model with a cache, see `generate`.
        prompt: As for `generate`; the prompts of a list are searched together.
        num_beams: Continuations kept, at least 1 and at most the ids that may be drawn.
        max_length: New tokens at most; the model's context is a limit too.
        length_penalty: Above 0 favours longer continuations, for the sum of logarithms falls with
            every token; 0 compares the sums. Not negative.
        stop_sequences: As for `generate`; a text does not end a continuation of the search, the result is
            cut at it.
        tokenizer: As for `generate`.
        max_new_tokens: Another name of `max_length`.
        strip_prompt: Whether to return only what is new.

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
        new_ids = [request.continuation(place).up_to_stop(ids) for place, ids in enumerate(new_ids)]
    return request.give_back(new_ids, strip_prompt)


def _search(request: Request, num_beams: int, length_penalty: float) -> list[list[int]]:
    rows = request.prompts.rows
    num_rows = len(rows)
    # Every prompt stands in the batch once for each beam; only the first of them counts at the start.
    copies = [row for row in rows for _ in range(num_beams)]
    session = Session(request.model, len(copies), padded_length(max(map(len, rows))) + max(request.limits))
    session.read_prompts(copies)
    zero, capacity = np.asarray(0, np.int32), session.capacity
    alive = np.full((num_rows, num_beams), _NEVER, np.float32)
    alive[:, 0] = 0.0
    state = {
        "step": zero,
        "index": np.asarray(session.length, np.int32),
        "cache": session.cache,
        "last": np.asarray([row[-1] for row in copies], np.int32),
        "alive": alive,
        "tokens": np.zeros((num_rows, num_beams, capacity), np.int32),
        "best": np.full(num_rows, _NEVER, np.float32),
        "best_tokens": np.zeros((num_rows, capacity), np.int32),
        "best_count": np.zeros(num_rows, np.int32),
        "is_done": np.zeros(num_rows, bool),
    }
    given = {
        "padding": session.padding,
        "stop_ids": padded_stop_ids(request.stop_ids),
        "limits": np.asarray(request.limits, np.int32),
        "length_penalty": np.asarray(length_penalty, np.float32),
    }
    key = ("beam", num_beams, request.num_ids)
    state = decoder_for(request.model).compiled(
        key, lambda model, *args: _loop(model, num_beams, request.num_ids, *args)
    )(state, given)
    tokens, counts = np.asarray(state["best_tokens"]), np.asarray(state["best_count"])
    # A continuation that no finite score ever ended has no length.
    tokens = np.where(counts[:, None] == 0, -1, tokens)
    counts = np.maximum(counts, 1)
    return require_drawn([row[:count].tolist() for row, count in zip(tokens, counts, strict=True)])


def _loop(model: Any, num_beams: int, num_ids: int, state: dict[str, Any], given: dict[str, Any]) -> Any:
    names = sorted(state)

    def is_unfinished(*values: Any) -> Any:
        return ops.logical_not(ops.all(dict(zip(names, values, strict=True))["is_done"]))

    def lengthen(*values: Any) -> tuple[Any, ...]:
        new = _lengthened(model, num_beams, num_ids, dict(zip(names, values, strict=True)), given)
        return tuple(new[name] for name in names)

    values = ops.while_loop(is_unfinished, lengthen, tuple(state[name] for name in names))
    return dict(zip(names, values, strict=True))


def _lengthened(
    model: Any, num_beams: int, num_ids: int, now: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """One more token for every beam."""
    num_rows = now["alive"].shape[0]
    logits, cache = model.decode(now["last"][:, None], now["cache"], now["index"], padding=given["padding"])
    shares = ops.log_softmax(ops.cast(logits[:, 0, :num_ids], "float32"), axis=-1)
    sums = now["alive"][:, :, None] + ops.reshape(shares, (num_rows, num_beams, num_ids))
    is_stop = ops.any(ops.arange(num_ids, dtype="int32")[:, None] == given["stop_ids"][None], axis=1)
    count = now["step"] + 1
    scale = ops.cast(count, "float32") ** given["length_penalty"]
    is_last = count >= given["limits"]
    ends = ops.where(ops.logical_or(is_stop[None, None], is_last[:, None, None]), sums, _NEVER)
    now = now | _with_best_end(now, ends, scale, count, num_ids)
    alive, chosen = ops.top_k(
        ops.reshape(ops.where(is_stop, _NEVER, sums), (num_rows, num_beams * num_ids)), num_beams
    )
    chosen = ops.cast(chosen, "int32")
    parents, drawn = chosen // num_ids, chosen % num_ids
    sources = ops.reshape(ops.arange(num_rows, dtype="int32")[:, None] * num_beams + parents, (-1,))
    tokens = ops.take_along_axis(now["tokens"], parents[:, :, None], axis=1)
    # The sum only falls and the scale only grows, so this is the most that a beam can still reach.
    reachable = alive[:, 0] / ops.cast(given["limits"], "float32") ** given["length_penalty"]
    is_done = ops.logical_or(is_last, now["best"] >= reachable)
    return now | {
        "step": count,
        "index": now["index"] + 1,
        "last": ops.reshape(drawn, (-1,)),
        "alive": alive,
        "tokens": ops.slice_update(tokens, [0, 0, now["step"]], drawn[:, :, None]),
        "is_done": ops.logical_or(now["is_done"], is_done),
        "cache": keras.tree.map_structure(lambda leaf: ops.take(leaf, sources, axis=0), cache),
    }


def _with_best_end(now: dict[str, Any], ends: Any, scale: Any, count: Any, num_ids: int) -> dict[str, Any]:
    """Takes the best continuation that ends now, where it beats those that ended before."""
    flat = ops.reshape(ends, (ends.shape[0], -1))
    place = ops.cast(ops.argmax(flat, axis=1), "int32")
    score = ops.max(flat, axis=1) / scale
    is_better = ops.logical_and(ops.logical_not(now["is_done"]), score > now["best"])
    parent = (place // num_ids)[:, None, None]
    tokens = ops.take_along_axis(now["tokens"], parent, axis=1)[:, 0]
    tokens = ops.slice_update(tokens, [0, now["step"]], (place % num_ids)[:, None])
    return {
        "best": ops.where(is_better, score, now["best"]),
        "best_tokens": ops.where(is_better[:, None], tokens, now["best_tokens"]),
        "best_count": ops.where(is_better, count, now["best_count"]),
    }
