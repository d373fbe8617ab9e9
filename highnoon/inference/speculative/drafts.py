"""Drafts for the slots of a window whose tokens are not known yet."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from keras import ops

from highnoon.inference.decoding.compiled_loop import run_while
from highnoon.inference.decoding.logits import draw
from highnoon.inference.speculative.prompt_look_up import look_up
from highnoon.inference.speculative.window import Window


@dataclasses.dataclass(frozen=True)
class Drafts:
    """Drafted tokens of one pass.

    Args:
        ids: (b, w) known and drafted tokens that are read.
        is_draft: (b, w) bool, whether the slot that a position decides on contains a draft.
        probabilities: (b, w, v) the distributions that drafts were drawn from; None where they are certain.
    """

    ids: Any
    is_draft: Any
    probabilities: Any = None

    @property
    def next_ids(self) -> Any:
        return ops.roll(self.ids, -1, axis=1)


def drafts_by_look_up(window: Window) -> Drafts:
    """Returns drafts from the text itself, see `look_up`."""
    now = window.now
    drafts, is_found = look_up(now.text, now.length, window.inputs.padding, window.width)
    behind = now.index + window.positions - now.length[:, None]
    drafted = ops.take_along_axis(drafts, ops.clip(behind, 0, window.width - 1), axis=1)
    ids = ops.where(window.is_known, window.known_ids, drafted)
    return Drafts(ids, _has_draft(window) & (is_found & window.is_working)[:, None])


def _has_draft(window: Window) -> Any:
    is_open = (window.decided >= window.now.length[:, None]) & (window.decided < window.inputs.ends[:, None])
    return is_open & (window.positions < window.width - 1)


class _Drafting(NamedTuple):
    """The state of the draft model's loop over a window.

    Args:
        position: Scalar, the position that is read next.
        drawn: (b,) the token that was drawn for it.
        ids: (b, w) the tokens read.
        probabilities: (b, w, v) the distributions after each of them.
        processors: The logits processors' state.
        cache: The draft model's cache.
    """

    position: Any
    drawn: Any
    ids: Any
    probabilities: Any
    processors: Any
    cache: Any


def drafts_by_model(draft: Any, window: Window) -> tuple[Drafts, Any]:
    """Lets a draft model read the window token by token, and write where nothing is known.

    Returns:
        The drafts, and the draft model's cache.
    """
    sampling, inputs, uniforms = window.form.sampling, window.inputs, window.random("draft_uniforms")

    def is_within(now: _Drafting) -> Any:
        return now.position < window.width

    def read_one(now: _Drafting) -> _Drafting:
        is_known = ops.take(window.is_known, now.position, axis=1)
        token = ops.where(is_known, ops.take(window.known_ids, now.position, axis=1), now.drawn)
        logits, cache = draft.decode(
            token[:, None], now.cache, window.now.index + now.position, padding=inputs.padding
        )
        processors = window.advance(now.processors, token, ops.logical_not(is_known))
        probabilities = sampling.probabilities(logits[:, 0], processors, inputs.sampling)
        return _Drafting(
            position=now.position + 1,
            drawn=draw(ops.log(probabilities), ops.take(uniforms, now.position, axis=1)),
            ids=ops.slice_update(now.ids, [0, now.position], token[:, None]),
            probabilities=ops.slice_update(now.probabilities, [0, now.position, 0], probabilities[:, None]),
            processors=processors,
            cache=cache,
        )

    start = _Drafting(
        position=ops.zeros((), "int32"),
        drawn=window.known_ids[:, 0],
        ids=ops.zeros_like(window.known_ids),
        probabilities=ops.zeros((window.num_rows, window.width, sampling.num_ids), "float32"),
        processors=window.now.processors,
        cache=window.now.caches["draft"],
    )
    end = run_while(is_within, read_one, start)
    return Drafts(end.ids, _has_draft(window), end.probabilities), end.cache
