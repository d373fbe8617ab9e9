"""Likely tokens that do not repeat what the model already has in mind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.inference.decoding.decoder import PIECES, decoder_for, padded_length
from highnoon.inference.decoding.session import Session, padded_stop_ids, require_drawn
from highnoon.inference.request import DEFAULT_MAX_LENGTH, Request
from highnoon.inference.require_number import refusal, require_number, require_whole


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
        model: A language model with a cache and a `backbone` (`step`, `token_embedding`).
        prompt: As for `generate`; the prompts of a list are continued together.
        top_k: Candidates, at least 1 and at most the ids that may be drawn.
        penalty_alpha: Weight of the likeness to what stands before, in [0, 1].
        max_length: New tokens at most; the model's context is a limit too.
        stop_sequences: As for `generate`; the result is cut at a text.
        tokenizer: As for `generate`.
        max_new_tokens: Another name of `max_length`.
        strip_prompt: Whether to return only what is new.

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
    if not hasattr(model, "backbone"):
        raise TypeError(
            f"contrastive search needs a model with a `backbone`; received a {type(model).__name__}"
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
        new_ids = [request.continuation(place).up_to_stop(ids) for place, ids in enumerate(new_ids)]
    return request.give_back(new_ids, strip_prompt)


def _search(request: Request, top_k: int, penalty_alpha: float) -> list[list[int]]:
    rows, num_ids = request.prompts.rows, request.num_ids
    # Every prompt stands in the batch once for each candidate.
    copies = [row for row in rows for _ in range(top_k)]
    session = Session(request.model, len(copies), padded_length(max(map(len, rows))) + max(request.limits))
    ids, session.padding = _padded(copies)
    decoder = decoder_for(request.model)
    read = decoder.compiled(("read_hidden", num_ids), lambda model, *args: _read(model, num_ids, *args))
    hidden, shares = [], None
    for start, stop in _pieces(ids.shape[1]):
        index = np.asarray(start, np.int32)
        states, shares, session.cache = read(ids[:, start:stop], session.cache, index, session.padding)
        hidden.append(ops.convert_to_numpy(states)[::top_k])
    memory = np.zeros((len(rows), session.capacity, hidden[0].shape[-1]), np.float32)
    memory[:, : ids.shape[1]] = np.concatenate(hidden, axis=1)
    state = {
        "step": np.asarray(0, np.int32),
        "index": np.asarray(ids.shape[1], np.int32),
        "cache": session.cache,
        "memory": memory,
        "shares": ops.convert_to_numpy(shares)[::top_k],
        "tokens": np.zeros((len(rows), session.capacity), np.int32),
        "counts": np.zeros(len(rows), np.int32),
        "is_done": np.zeros(len(rows), bool),
    }
    given = {
        "padding": session.padding,
        "stop_ids": padded_stop_ids(request.stop_ids),
        "limits": np.asarray(request.limits, np.int32),
        "alpha": np.asarray(penalty_alpha, np.float32),
    }
    search = decoder.compiled(
        ("contrastive", top_k, num_ids), lambda model, *args: _loop(model, top_k, num_ids, *args)
    )
    state = search(state, given)
    tokens, counts = np.asarray(state["tokens"]), np.asarray(state["counts"])
    return require_drawn([row[:count].tolist() for row, count in zip(tokens, counts, strict=True)])


def _padded(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns whole prompts, padded on the left to a few lengths, and how much of each row is padding."""
    length = padded_length(max(map(len, rows)))
    ids = np.zeros((len(rows), length), np.int32)
    for place, row in enumerate(rows):
        ids[place, length - len(row) :] = row
    return ids, np.asarray([length - len(row) for row in rows], np.int32)


def _pieces(length: int) -> list[tuple[int, int]]:
    pieces, start = [], 0
    for size in PIECES:
        while length - start >= size:
            pieces.append((start, start + size))
            start += size
    return pieces


def _read(
    model: Any, num_ids: int, token_ids: Any, cache: Any, index: Any, padding: Any
) -> tuple[Any, Any, Any]:
    """Returns the directions of the hidden states (b, t, d), the law of the next token (b, v), the cache."""
    hidden, cache = model.backbone.step(token_ids, cache, index, padding)
    logits = model.backbone.token_embedding(hidden[:, -1], reverse=True)[:, :num_ids]
    hidden = ops.cast(hidden, "float32")
    return ops.normalize(hidden, axis=-1), ops.softmax(ops.cast(logits, "float32"), axis=-1), cache


def _loop(model: Any, top_k: int, num_ids: int, state: dict[str, Any], given: dict[str, Any]) -> Any:
    names = sorted(state)

    def is_unfinished(*values: Any) -> Any:
        return ops.logical_not(ops.all(dict(zip(names, values, strict=True))["is_done"]))

    def choose_one(*values: Any) -> tuple[Any, ...]:
        new = _chosen(model, top_k, num_ids, dict(zip(names, values, strict=True)), given)
        return tuple(new[name] for name in names)

    values = ops.while_loop(is_unfinished, choose_one, tuple(state[name] for name in names))
    return dict(zip(names, values, strict=True))


def _chosen(
    model: Any, top_k: int, num_ids: int, now: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """One more token for every row: each candidate is read, and one of them kept."""
    num_rows, width = now["memory"].shape[0], now["memory"].shape[2]
    shares, ids = ops.top_k(now["shares"], top_k)
    ids = ops.cast(ids, "int32")
    hidden, next_shares, cache = _read(
        model, num_ids, ops.reshape(ids, (-1, 1)), now["cache"], now["index"], given["padding"]
    )
    hidden = ops.reshape(hidden, (num_rows, top_k, width))
    likeness = ops.einsum("bkd,bsd->bks", hidden, now["memory"])
    slots = ops.arange(now["memory"].shape[1], dtype="int32")[None]
    is_before = ops.logical_and(slots < now["index"], slots >= given["padding"][::top_k, None])
    likeness = ops.max(ops.where(is_before[:, None], likeness, -1.0), axis=-1)
    score = (1.0 - given["alpha"]) * shares - given["alpha"] * likeness
    best = ops.cast(ops.argmax(score, axis=-1), "int32")
    chosen = ops.arange(num_rows, dtype="int32") * top_k + best
    drawn = ops.take_along_axis(ids, best[:, None], axis=1)
    drawn = ops.where(ops.isnan(ops.max(shares, axis=-1, keepdims=True)), -1, drawn)
    kept = ops.take_along_axis(hidden, best[:, None, None], axis=1)
    sources = ops.repeat(chosen, top_k)
    is_stop = ops.any(drawn == given["stop_ids"][None], axis=1)
    is_full = now["step"] + 1 >= given["limits"]
    return {
        "step": now["step"] + 1,
        "index": now["index"] + 1,
        "cache": keras.tree.map_structure(lambda leaf: ops.take(leaf, sources, axis=0), cache),
        "memory": ops.slice_update(now["memory"], [0, now["index"], 0], kept),
        "shares": ops.take(next_shares, chosen, axis=0),
        "tokens": ops.slice_update(now["tokens"], [0, now["step"]], drawn),
        "counts": now["counts"] + ops.cast(ops.logical_not(now["is_done"]), "int32"),
        "is_done": ops.logical_or(now["is_done"], ops.logical_or(is_stop, is_full)),
    }
