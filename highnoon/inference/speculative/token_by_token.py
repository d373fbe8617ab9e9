"""Drafts by a smaller model, token by token."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from keras import ops

from highnoon.inference.decoding.compiled_loop import run_while
from highnoon.inference.decoding.logits import draw
from highnoon.inference.speculative.drafters import Drafter
from highnoon.inference.speculative.drafts import Drafts, has_draft
from highnoon.inference.speculative.window import Window


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


class TokenByToken(Drafter):
    """Lets a draft model read the window token by token, and write where nothing is known."""

    name: ClassVar[str] = "token_by_token"

    def draft(self, model: Any, window: Window) -> tuple[Drafts, Any]:
        sampling, inputs, uniforms = window.form.sampling, window.inputs, window.random("draft_uniforms")

        def is_within(now: _Drafting) -> Any:
            return now.position < window.width

        def read_one(now: _Drafting) -> _Drafting:
            is_known = ops.take(window.is_known, now.position, axis=1)
            token = ops.where(is_known, ops.take(window.known_ids, now.position, axis=1), now.drawn)
            logits, cache = model.decode(
                token[:, None], now.cache, window.now.index + now.position, padding=inputs.padding
            )
            processors = window.advance(now.processors, token, ops.logical_not(is_known))
            probabilities = sampling.probabilities(logits[:, 0], processors, inputs.sampling)
            return _Drafting(
                position=now.position + 1,
                drawn=draw(ops.log(probabilities), ops.take(uniforms, now.position, axis=1)),
                ids=ops.slice_update(now.ids, [0, now.position], token[:, None]),
                probabilities=ops.slice_update(
                    now.probabilities, [0, now.position, 0], probabilities[:, None]
                ),
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
        return Drafts(end.ids, has_draft(window), end.probabilities), end.cache
