"""The compiled loop of speculative decoding: passes that check several drafted tokens at once.

Each pass reads a window of W tokens, slots index .. index + W - 1 of the cache. A row's known tokens
come first, at least one of them not read before, and drafts fill the rest. Afterwards:

- attention caches: the window moves to the last known token of the row that has the fewest.
- a cache with a state cannot go back to the middle of a window, so the cache from before is kept, and the
  window stays, with more known tokens and fewer drafts, until a pass has read known tokens alone.

Rows share the index of the window, but not the number of their tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from highnoon.inference.decoding.compiled_loop import run_while
from highnoon.inference.decoding.logits import draw
from highnoon.inference.speculative.drafters import drafter_named
from highnoon.inference.speculative.drafts import Drafts, no_drafts
from highnoon.inference.speculative.model_pair import ModelPair
from highnoon.inference.speculative.window import (
    SpeculationCounts,
    SpeculationForm,
    SpeculationInputs,
    SpeculationState,
    Window,
)


def speculate(
    pair: ModelPair, form: SpeculationForm, state: SpeculationState, inputs: SpeculationInputs
) -> SpeculationState:
    """Runs passes until `inputs.end` of them are done or every row is; returns the new state.

    Args:
        pair: The models.
        form: Which operations run.
        state: Where the generation is.
        inputs: What it reads.
    """

    def is_unfinished(now: SpeculationState) -> Any:
        return ops.logical_and(now.passes < inputs.end, ops.logical_not(ops.all(now.is_done)))

    return run_while(is_unfinished, lambda now: _pass(pair, Window(form, now, inputs)), state)


class _Reading(NamedTuple):
    """What the models made of a window.

    Args:
        logits: (b, w, v) of the target.
        num_read: Scalar, how many tokens it read.
        caches: The caches by model.
    """

    logits: Any
    num_read: Any
    caches: dict[str, Any]


class _Decision(NamedTuple):
    """The token (b, w) that follows each position, and whether it is the accepted draft (b, w)."""

    tokens: Any
    is_accepted: Any


def _pass(pair: ModelPair, window: Window) -> SpeculationState:
    caches = dict(window.now.caches)
    if window.width == 1:  # a plain pass, of which the draft model reads nothing
        drafts = no_drafts(window)
    else:
        drafts, cache = drafter_named(window.form.drafter, pair.draft).draft(pair.draft, window)
        caches |= {} if pair.draft is None else {"draft": cache}
    logits, caches["target"], num_read = _read(pair, window, drafts)
    return _after(window, drafts, _decide(window, drafts, logits), _Reading(logits, num_read, caches))


def _read(pair: ModelPair, window: Window, drafts: Drafts) -> tuple[Any, Any, Any]:
    """Returns the target's logits (b, w, v), its cache, and how many tokens it read."""
    now = window.now

    def read(width: int) -> tuple[Any, Any, Any]:
        logits, cache = pair.target.decode(
            drafts.ids[:, :width], now.caches["target"], now.index, padding=window.inputs.padding
        )
        logits = ops.pad(logits, [(0, 0), (0, window.width - width), (0, 0)])
        return logits, cache, ops.convert_to_tensor(width, "int32")

    if pair.draft is not None or window.width == 1:
        return read(window.width)
    # Where the text repeats nothing there is nothing to check, and a wide pass would be wasted.
    is_plain = ops.logical_or(now.length == now.index + 1, now.is_done)
    is_plain = ops.logical_and(ops.all(is_plain), ops.logical_not(ops.any(drafts.is_draft)))
    return ops.cond(is_plain, lambda: read(1), lambda: read(window.width))


def _decide(window: Window, drafts: Drafts, logits: Any) -> _Decision:
    """Chooses the token that follows each position.

    ```
    accept draft x ~ q with probability min(1, p(x) / q(x)); else draw from norm(max(0, p - q))
    ```

    A certain draft is compared with a draw from p instead: it is accepted with probability p(x), and
    otherwise the draw is a sample from p with x removed, renormalized, which is the same rule for a q with
    all of its mass on x. So a seed gives what plain decoding gives.
    """
    sampling, values = window.form.sampling, window.inputs.sampling
    processors = window.processors_by_position(drafts.ids)
    uniforms, next_ids = window.flat(window.random("uniforms")), drafts.next_ids
    if drafts.probabilities is None:
        chosen = window.unflat(sampling.next_tokens(window.flat(logits), uniforms, processors, values))
        return _Decision(chosen, drafts.is_draft & (chosen == next_ids))
    target = window.unflat(sampling.probabilities(window.flat(logits), processors, values))
    p, q = (
        ops.take_along_axis(probabilities, next_ids[:, :, None], axis=2)[:, :, 0]
        for probabilities in (target, drafts.probabilities)
    )
    is_accepted = drafts.is_draft & (window.random("accept_uniforms") * q < p)
    left = ops.maximum(target - drafts.probabilities, 0.0)
    left = ops.where(drafts.is_draft[:, :, None], left, target)
    drawn = window.unflat(draw(ops.log(window.flat(left)), uniforms))
    return _Decision(ops.where(is_accepted, next_ids, drawn), is_accepted)


def _after(window: Window, drafts: Drafts, decision: _Decision, reading: _Reading) -> SpeculationState:
    now, chosen, is_accepted = window.now, *decision
    is_right = ops.cast(ops.logical_or(window.is_decided_known, is_accepted), "int32")
    num_right = ops.minimum(ops.sum(ops.cumprod(is_right, axis=1), axis=1), window.width - 1)
    reached = ops.maximum(now.length, now.index + num_right + 2)
    reached, is_done = _ended(window, chosen, reached)
    is_new = _is_new(window, reached)
    text = ops.slice_update(
        now.text, [0, now.index + 1], ops.where(is_new, chosen, window.read(now.text, ahead=1))
    )
    index, caches = _moved(window, reading, reached, is_done)
    return SpeculationState(
        passes=now.passes + 1,
        index=index,
        text=text,
        length=reached,
        is_done=is_done,
        processors=window.processors_after(chosen, is_new),
        counts=SpeculationCounts(
            proposed=now.counts.proposed + _count(drafts.is_draft & window.is_working[:, None]),
            accepted=now.counts.accepted + _count(is_accepted & is_new),
            row_passes=now.counts.row_passes + _count(window.is_working),
        ),
        caches=caches,
    )


def _is_new(window: Window, reached: Any) -> Any:
    """(b, w) whether a position decides on a slot that was not known and is before `reached`."""
    return ops.logical_not(window.is_decided_known) & (window.decided < reached[:, None])


def _ended(window: Window, chosen: Any, reached: Any) -> tuple[Any, Any]:
    """Cuts the rows at stop ids and limits; returns where they end now, and which are done."""
    now, inputs = window.now, window.inputs
    is_stop = _is_new(window, reached) & ops.any(chosen[:, :, None] == inputs.stop_ids, axis=2)
    ends = ops.minimum(inputs.ends, now.text.shape[1])
    stops = ops.where(is_stop, window.decided + 1, now.text.shape[1] + 1)
    first_stop = ops.min(stops, axis=1)
    cut = ops.minimum(reached, ops.minimum(ends, first_stop))
    is_done = ops.logical_or(now.is_done, cut >= ops.minimum(ends, first_stop))
    return ops.where(now.is_done, now.length, cut), is_done


def _moved(window: Window, reading: _Reading, reached: Any, is_done: Any) -> tuple[Any, Any]:
    """Returns the index of the next window and the caches for it."""
    now, behind = window.now, window.now.index + reading.num_read
    if not window.form.holds_state:
        fewest = ops.min(ops.where(is_done, behind + 1, reached))
        return ops.minimum(fewest - 1, behind), reading.caches
    is_read = ops.all(ops.logical_or(is_done, reached > behind))
    before, after = keras.tree.flatten(now.caches), keras.tree.flatten(reading.caches)
    leaves = [
        new if grows else ops.where(is_read, new, old)
        for grows, new, old in zip(window.form.grows, after, before, strict=True)
    ]
    caches = keras.tree.pack_sequence_as(reading.caches, leaves)
    return ops.where(is_read, behind, now.index), caches


def _count(is_true: Any) -> Any:
    return ops.sum(ops.cast(is_true, "int32"))
