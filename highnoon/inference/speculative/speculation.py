"""The compiled loop of speculative decoding: passes that check several drafted tokens at once.

Each pass reads a window of W tokens, slots index .. index + W - 1 of the cache. A row's known tokens
come first, at least one of them not read before, and drafts fill the rest. What holds afterwards:

- attention caches: the window moves to the last known token of the row that has the fewest.
- a cache with a state cannot go back to the middle of a window, so the cache from before is kept, and the
  window stays, with more known tokens and fewer drafts, until a pass has read known tokens alone.

Rows share the index of the window, but not the number of their tokens.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from highnoon.inference.decoding.logits import draw
from highnoon.inference.decoding.sampling import SamplingForm
from highnoon.inference.speculative.model_pair import ModelPair
from highnoon.inference.speculative.prompt_look_up import look_up


@dataclasses.dataclass(frozen=True)
class SpeculationForm:
    """What a compiled loop depends on.

    Args:
        sampling: Which operations choose a token.
        window: Tokens that a pass reads, one more than it drafts at most.
        grows: For target and draft, the caches' structures with True where an array grows with the
            text, as hashable leaves.
    """

    sampling: SamplingForm
    window: int
    grows: tuple[bool, ...]

    @property
    def holds_state(self) -> bool:
        return not all(self.grows)


def speculate(
    pair: ModelPair, form: SpeculationForm, state: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """Runs passes until `given["end"]` of them are done or every row is; returns the new state.

    Args:
        pair: The models.
        form: Which operations run.
        state: `passes` (scalar) done; `index` (scalar) first slot of the window; `text` (b, c) by slot
            and `length` (b,), where each row's known tokens end; `is_done` (b,); `seen` (b, v) or
            (b, 0); `cache` of the target and of the draft; the sums `num_proposed`, `num_accepted`,
            `num_row_passes` (scalars).
        given: `end`; `padding` (b,); `ends` (b,) the slot where a row ends at the latest; `stop_ids`
            (s,); random numbers by slot `uniforms` (b, c), with a draft model also `draft_uniforms` and
            `accept_uniforms`; the values of the sampling.
    """
    names = sorted(state)

    def is_unfinished(*values: Any) -> Any:
        now = dict(zip(names, values, strict=True))
        return ops.logical_and(now["passes"] < given["end"], ops.logical_not(ops.all(now["is_done"])))

    def one_pass(*values: Any) -> tuple[Any, ...]:
        new = _pass(pair, form, dict(zip(names, values, strict=True)), given)
        return tuple(new[name] for name in names)

    values = ops.while_loop(is_unfinished, one_pass, tuple(state[name] for name in names))
    return dict(zip(names, values, strict=True))


def _pass(
    pair: ModelPair, form: SpeculationForm, now: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    window = _Window(form, now, given)
    cache = dict(now["cache"])
    if pair.draft is None:
        drafts = _drafts_by_look_up(window, now, given)
    else:
        drafts, cache["draft"] = _drafts_by_model(pair.draft, window, now, given)
    logits, cache["target"], num_read = _read(pair, window, drafts, now, given)
    chosen, is_accepted = _decide(window, drafts, logits, now, given)
    return _after(window, drafts, chosen, is_accepted, num_read, cache, now, given)


def _read(
    pair: ModelPair, window: _Window, drafts: _Drafts, now: dict[str, Any], given: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """Returns the target's logits (b, w, v), its cache, and how many tokens it read."""

    def read(width: int) -> tuple[Any, Any, Any]:
        logits, cache = pair.target.decode(
            drafts.ids[:, :width], now["cache"]["target"], now["index"], padding=given["padding"]
        )
        logits = ops.pad(logits, [(0, 0), (0, window.width - width), (0, 0)])
        return logits, cache, ops.convert_to_tensor(width, "int32")

    if pair.draft is not None:
        return read(window.width)
    # Where the text repeats nothing there is nothing to check, and a wide pass would be for naught.
    is_plain = ops.logical_or(window.length == window.index + 1, now["is_done"])
    is_plain = ops.logical_and(ops.all(is_plain), ops.logical_not(ops.any(drafts.is_draft)))
    return ops.cond(is_plain, lambda: read(1), lambda: read(window.width))


class _Window:
    """The slots of one pass. Place w reads slot index + w and decides on slot index + w + 1."""

    def __init__(self, form: SpeculationForm, now: dict[str, Any], given: dict[str, Any]):
        self.form, self.width = form, form.window
        self.num_rows = now["text"].shape[0]
        self.index, self.length = now["index"], now["length"]
        self.known_ids = self.read(now["text"])
        self.places = ops.arange(self.width, dtype="int32")[None]
        self.decided = self.index + self.places + 1
        self.is_known = self.index + self.places < self.length[:, None]
        self.is_decided_known = self.decided < self.length[:, None]

    def read(self, by_slot: Any, ahead: int = 0) -> Any:
        """Returns (b, w), the columns of the slots that are read, or those `ahead` of them."""
        return ops.slice(by_slot, [0, self.index + ahead], [self.num_rows, self.width])

    def flat(self, array: Any) -> Any:
        """(b, w, ..) as (b * w, ..), each place as a row of its own."""
        return ops.reshape(array, (self.num_rows * self.width, *array.shape[2:]))

    def unflat(self, array: Any) -> Any:
        return ops.reshape(array, (self.num_rows, self.width, *array.shape[1:]))


@dataclasses.dataclass(frozen=True)
class _Drafts:
    """`ids` (b, w) known and drafted tokens that are read; `is_draft` (b, w), whether a draft stands in
    the slot that a place decides on; `probabilities` (b, w, v) that it was drawn from, None where it is
    certain."""

    ids: Any
    is_draft: Any
    probabilities: Any = None

    @property
    def next_ids(self) -> Any:
        return ops.roll(self.ids, -1, axis=1)


def _drafts_by_look_up(window: _Window, now: dict[str, Any], given: dict[str, Any]) -> _Drafts:
    drafts, is_found = look_up(now["text"], window.length, given["padding"], window.width)
    behind = window.index + window.places - window.length[:, None]
    drafted = ops.take_along_axis(drafts, ops.clip(behind, 0, window.width - 1), axis=1)
    ids = ops.where(window.is_known, window.known_ids, drafted)
    is_working = ops.logical_not(now["is_done"])
    return _Drafts(ids, _has_draft(window, given) & (is_found & is_working)[:, None])


def _has_draft(window: _Window, given: dict[str, Any]) -> Any:
    is_open = (window.decided >= window.length[:, None]) & (window.decided < given["ends"][:, None])
    return is_open & (window.places < window.width - 1)


def _drafts_by_model(
    draft: Any, window: _Window, now: dict[str, Any], given: dict[str, Any]
) -> tuple[_Drafts, Any]:
    """Lets the draft read the window token by token, and write where nothing is known."""
    sampling, uniforms = window.form.sampling, window.read(given["draft_uniforms"], ahead=1)

    def is_within(place: Any, *_: Any) -> Any:
        return place < window.width

    def read_one(place: Any, drawn: Any, ids: Any, shares: Any, seen: Any, cache: Any) -> tuple[Any, ...]:
        known = ops.take(window.known_ids, place, axis=1)
        token = ops.where(ops.take(window.is_known, place, axis=1), known, drawn)
        ids = ops.slice_update(ids, [0, place], token[:, None])
        logits, cache = draft.decode(token[:, None], cache, window.index + place, padding=given["padding"])
        if sampling.uses_penalty:
            seen = ops.logical_or(seen, _is_token(token, seen.shape[1]))
        share = sampling.probabilities(logits[:, 0], seen, given)
        drawn = draw(ops.log(share), ops.take(uniforms, place, axis=1))
        return place + 1, drawn, ids, ops.slice_update(shares, [0, place, 0], share[:, None]), seen, cache

    shares = ops.zeros((window.num_rows, window.width, sampling.num_ids), "float32")
    start = (
        ops.zeros((), "int32"),
        window.known_ids[:, 0],
        ops.zeros_like(window.known_ids),
        shares,
        now["seen"],
        now["cache"]["draft"],
    )
    _, _, ids, shares, _, cache = ops.while_loop(is_within, read_one, start)
    return _Drafts(ids, _has_draft(window, given), shares), cache


def _decide(
    window: _Window, drafts: _Drafts, logits: Any, now: dict[str, Any], given: dict[str, Any]
) -> tuple[Any, Any]:
    """Returns the token (b, w) that follows each place, and whether it is the draft.

    ```
    accept draft x ~ q with probability min(1, p(x) / q(x)); else draw from norm(max(0, p - q))
    ```

    A certain draft is compared with a draw from p instead: it is accepted with probability p(x), and
    what is drawn otherwise has the law norm(p without x), which is the same rule for a q with all of its
    mass on x. So a seed gives what plain decoding gives.
    """
    sampling = window.form.sampling
    seen = window.flat(_seen_by_place(drafts.ids, now["seen"]))
    uniforms = window.flat(window.read(given["uniforms"], ahead=1))
    next_ids = drafts.next_ids
    if drafts.probabilities is None:
        chosen = window.unflat(sampling.next_tokens(window.flat(logits), uniforms, seen, given))
        return chosen, drafts.is_draft & (chosen == next_ids)
    target = window.unflat(sampling.probabilities(window.flat(logits), seen, given))
    p, q = (
        ops.take_along_axis(shares, next_ids[:, :, None], axis=2)[:, :, 0]
        for shares in (target, drafts.probabilities)
    )
    is_accepted = drafts.is_draft & (window.read(given["accept_uniforms"], ahead=1) * q < p)
    left = ops.maximum(target - drafts.probabilities, 0.0)
    left = ops.where(drafts.is_draft[:, :, None], left, target)
    drawn = window.unflat(draw(ops.log(window.flat(left)), uniforms))
    return ops.where(is_accepted, next_ids, drawn), is_accepted


def _seen_by_place(ids: Any, seen: Any) -> Any:
    """(b, w, v): the tokens seen before, and those of the window up to each place."""
    is_token = ops.cast(_is_token(ids, seen.shape[1]), "int32")
    return ops.logical_or(seen[:, None], ops.cumsum(is_token, axis=1) > 0)


def _is_token(ids: Any, vocab_size: int) -> Any:
    return ids[..., None] == ops.arange(vocab_size, dtype="int32")


def _after(
    window: _Window,
    drafts: _Drafts,
    chosen: Any,
    is_accepted: Any,
    num_read: Any,
    cache: Any,
    now: dict[str, Any],
    given: dict[str, Any],
) -> dict[str, Any]:
    is_right = ops.cast(ops.logical_or(window.is_decided_known, is_accepted), "int32")
    num_right = ops.minimum(ops.sum(ops.cumprod(is_right, axis=1), axis=1), window.width - 1)
    reached = ops.maximum(now["length"], window.index + num_right + 2)
    reached, is_done = _ended(window, chosen, reached, now, given)
    is_new = ops.logical_not(window.is_decided_known) & (window.decided < reached[:, None])
    text = ops.slice_update(
        now["text"],
        [0, window.index + 1],
        ops.where(is_new, chosen, window.read(now["text"], ahead=1)),
    )
    seen = now["seen"]
    if window.form.sampling.uses_penalty:
        tokens = _is_token(chosen, seen.shape[1]) & is_new[:, :, None]
        seen = ops.logical_or(seen, ops.any(tokens, axis=1))
    index, cache = _moved(window, num_read, reached, is_done, cache, now["cache"])
    is_working = ops.logical_not(now["is_done"])
    return {
        "passes": now["passes"] + 1,
        "index": index,
        "text": text,
        "length": reached,
        "is_done": is_done,
        "seen": seen,
        "cache": cache,
        "num_proposed": now["num_proposed"] + _count(drafts.is_draft & is_working[:, None]),
        "num_accepted": now["num_accepted"] + _count(is_accepted & is_new),
        "num_row_passes": now["num_row_passes"] + _count(is_working),
    }


def _ended(
    window: _Window, chosen: Any, reached: Any, now: dict[str, Any], given: dict[str, Any]
) -> tuple[Any, Any]:
    """Cuts the rows at stop ids and limits; returns where they end now, and which are done."""
    is_new = ops.logical_not(window.is_decided_known) & (window.decided < reached[:, None])
    is_stop = is_new & ops.any(chosen[:, :, None] == given["stop_ids"], axis=2)
    ends = ops.minimum(given["ends"], now["text"].shape[1])
    stops = ops.where(is_stop, window.decided + 1, now["text"].shape[1] + 1)
    first_stop = ops.min(stops, axis=1)
    cut = ops.minimum(reached, ops.minimum(ends, first_stop))
    is_done = ops.logical_or(now["is_done"], cut >= ops.minimum(ends, first_stop))
    return ops.where(now["is_done"], now["length"], cut), is_done


def _moved(
    window: _Window, num_read: Any, reached: Any, is_done: Any, cache: Any, before: Any
) -> tuple[Any, Any]:
    """Returns the index of the next window and the cache for it."""
    behind = window.index + num_read
    if not window.form.holds_state:
        fewest = ops.min(ops.where(is_done, behind + 1, reached))
        return ops.minimum(fewest - 1, behind), cache
    is_read = ops.all(ops.logical_or(is_done, reached > behind))
    leaves = [
        new if grows else ops.where(is_read, new, old)
        for grows, new, old in zip(
            window.form.grows, keras.tree.flatten(cache), keras.tree.flatten(before), strict=True
        )
    ]
    return ops.where(is_read, behind, window.index), keras.tree.pack_sequence_as(cache, leaves)


def _count(is_true: Any) -> Any:
    return ops.sum(ops.cast(is_true, "int32"))
