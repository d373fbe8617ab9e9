"""Speculative decoding: several tokens per pass of the model, with an unchanged distribution."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from highnoon.inference.decoding.cache_layout import grows_with_length
from highnoon.inference.decoding.decoder import decoder_for, padded_length, pieces_of
from highnoon.inference.decoding.sampling import uniforms_for
from highnoon.inference.decoding.session import Session, padded_stop_ids, require_drawn
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.inference.request import Request
from highnoon.inference.require_number import require_whole
from highnoon.inference.speculative.draft_switch import DraftSwitch
from highnoon.inference.speculative.drafters import Drafter, drafter_named
from highnoon.inference.speculative.model_pair import ModelPair
from highnoon.inference.speculative.speculation import speculate
from highnoon.inference.speculative.window import (
    SpeculationCounts,
    SpeculationForm,
    SpeculationInputs,
    SpeculationState,
)

_PASSES_BETWEEN_CHECKS = 16
_LONGEST_DRAFT = 2  # times num_speculative_tokens


class SpeculativeGenerator:
    """Generates what `generate` does, but checks several drafted tokens in one pass of the model.

    ```
    x ~ q (draft);   accept with probability min(1, p(x) / q(x));   else x ~ norm(max(0, p - q))
    ```

    p and q are the distributions after repetition penalty, logits processors, temperature, top-k and top-p,
    so each token has exactly the distribution p, whatever the draft: a poor draft only costs time. Greedy
    output equals that of `generate`, except for rounding where two logits are equal to the last bits.

    A draft model of block diffusion drafts all tokens in one pass, see `BlockDrafter`; another one drafts
    token by token. Without a draft model, the draft is what followed the latest earlier occurrence of the
    text's last tokens, a q with all its mass on one token. Then a seed gives the same text as `generate`.

    Works on every pattern. Attention caches roll back by their index; a recurrent state cannot, so the state
    from before the draft is kept until everything that a pass read is known to be right. Such a model gains
    less.

    The length of the draft is doubled or halved, from 1 to twice `num_speculative_tokens`, after every 16
    passes whose acceptance rate differed from `acceptance_rate_target` by more than a tenth. Each length is
    compiled once.

    With `lowest_speed` drafting is off where it does not pay: passes with and without drafts are timed, and
    what the draft model reads before it drafts, also over later calls, see `DraftSwitch`. Until the first
    draft it does not even read the prompt. Which passes draft then depends on these times. So greedy text
    stays the same and drawn text keeps its distribution, but with a draft model a seed may give another text.

    Args:
        target_model: A language model with a cache, see `generate`.
        draft_model: A smaller one with the same token ids; None for prompt look-up.
        num_speculative_tokens: Tokens to draft at first, at least 1.
        acceptance_rate_target: In (0, 1); None keeps the draft's length.
        drafter: `"prompt_look_up"`, `"token_by_token"`, `"block"` or a registered name; None takes what suits
            the draft model.
        lowest_speed: Fraction of the speed of passes without drafts that is kept on average over calls, in
            (0, 1); None always drafts. `"auto"` takes the drafter's: 0.95 for `"block"`, None for the others.

    Raises:
        ValueError: an argument out of its range, models of unequal vocabularies, or a drafter that cannot use
            the draft model.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import SpeculativeGenerator

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    generator = SpeculativeGenerator(model)
    ids = generator.generate([2, 40, 41, 40], max_length=12, temperature=0)
    assert ids == model.generate([2, 40, 41, 40], max_length=12, temperature=0)
    print(generator.acceptance_rate, generator.tokens_per_pass)
    ```

    Leviathan et al. 2023, "Fast inference from transformers via speculative decoding" (arXiv:2211.17192),
    algorithm 1; Chen et al. 2023 (arXiv:2302.01318), algorithm 2.
    """

    def __init__(
        self,
        target_model: Any,
        draft_model: Any = None,
        num_speculative_tokens: int = 4,
        acceptance_rate_target: float | None = 0.7,
        drafter: str | None = None,
        lowest_speed: float | str | None = "auto",
    ):
        num_speculative_tokens = require_whole("num_speculative_tokens", num_speculative_tokens)
        if acceptance_rate_target is not None and not 0 < acceptance_rate_target < 1:
            raise ValueError(
                f"`acceptance_rate_target` must be in (0, 1) or None; received {acceptance_rate_target}"
            )
        target_model = decoding_model(target_model)
        draft_model = None if draft_model is None else decoding_model(draft_model)
        if draft_model is not None and draft_model.vocab_size != target_model.vocab_size:
            raise ValueError(
                f"the draft has {draft_model.vocab_size:,} token ids and the target "
                f"{target_model.vocab_size:,}; use two models of one tokenizer"
            )
        self.target_model, self.draft_model = target_model, draft_model
        self.num_speculative_tokens = num_speculative_tokens
        self.acceptance_rate_target = acceptance_rate_target
        self._drafter = drafter_named(drafter, draft_model)
        self.lowest_speed = _lowest_speed(lowest_speed, self._drafter)
        self._switches: dict[int, DraftSwitch] = {}  # by the number of rows
        self._measured: set[Any] = set()
        self._draft_length = num_speculative_tokens
        self._pair = ModelPair(target_model, draft_model)
        self._counts = {"num_proposed": 0, "num_accepted": 0, "num_row_passes": 0, "num_tokens": 0}

    @property
    def acceptance_rate(self) -> float:
        """Fraction of the drafted tokens that were accepted in the last generation; NaN without drafts."""
        return _ratio(self._counts["num_accepted"], self._counts["num_proposed"])

    @property
    def tokens_per_pass(self) -> float:
        """New tokens per row and pass of the target in the last generation; plain decoding has 1."""
        return _ratio(self._counts["num_tokens"], self._counts["num_row_passes"])

    @property
    def draft_length(self) -> int:
        """Tokens that the next pass with drafts drafts."""
        return self._draft_length

    def generate(self, prompt: Any, strip_prompt: bool = False, **options: Any) -> Any:
        """Continues prompts.

        Args:
            prompt: As for `highnoon.inference.generate`; many prompts are continued together.
            strip_prompt: Whether to return only the new tokens.
            **options: The other arguments of `generate`.

        Returns:
            As `generate`.

        Raises:
            ValueError: as `generate`.
            TypeError: an unknown argument.
        """
        Request.require_known("generate", options)
        request = Request.read(self.target_model, prompt, **options)
        widest = 1 + _LONGEST_DRAFT * self.num_speculative_tokens
        speculation = _Speculation(self._pair, request, widest, self._drafter.name)
        while not speculation.is_done:
            before = speculation.counts()
            self._advance(speculation, bool(request.stop_texts))
            self._adapt(before, speculation.counts())
            if request.stop_texts:
                speculation.end_at_stop_texts()
        self._counts = speculation.counts()
        return request.give_back(speculation.new_ids(), strip_prompt)

    def _advance(self, speculation: _Speculation, is_checked: bool) -> None:
        """Runs passes up to the next check."""
        if self.lowest_speed is None:
            is_checked |= self.acceptance_rate_target is not None
            form = speculation.form(1 + self._draft_length)
            speculation.read_into_draft()
            speculation.advance(self._function(form), _PASSES_BETWEEN_CHECKS if is_checked else None)
            speculation.mark_drafted()
            return
        switch = self._switches.setdefault(speculation.num_rows, DraftSwitch(self.lowest_speed))
        turn = switch.turn(self._draft_length, speculation.num_unread)
        passes = min(turn.passes, _PASSES_BETWEEN_CHECKS) if is_checked else turn.passes
        function = self._function(speculation.form(1 + self._draft_length * turn.is_drafting))
        key = (function, speculation.capacity, speculation.num_rows)
        if turn.is_drafting:
            self._read(speculation, switch)
        before, began = speculation.progress(), time.perf_counter()
        speculation.advance(function, passes)
        after, seconds = speculation.progress(), time.perf_counter() - began
        if turn.is_drafting:
            speculation.mark_drafted()
        if key in self._measured:
            switch.record(turn, after[0] - before[0], after[1] - before[1], seconds)
        self._measured.add(key)  # the first call compiles, which says nothing of later ones

    def _read(self, speculation: _Speculation, switch: DraftSwitch) -> None:
        """Lets the draft model read what it has not read, and the switch know what that takes."""
        num_tokens = speculation.num_unread
        keys = {
            ("read", piece, speculation.capacity, speculation.num_rows) for piece in pieces_of(num_tokens)
        }
        began = time.perf_counter()
        speculation.read_into_draft()
        seconds = time.perf_counter() - began
        if num_tokens and keys <= self._measured:
            switch.record_reading(num_tokens, seconds)
        self._measured |= keys

    def _function(self, form: SpeculationForm) -> Callable[..., Any]:
        return decoder_for(self._pair).compiled(
            ("speculate", form), lambda pair, *args: speculate(pair, form, *args)
        )

    def _adapt(self, before: dict[str, int], after: dict[str, int]) -> None:
        proposed = after["num_proposed"] - before["num_proposed"]
        if self.acceptance_rate_target is None or not proposed:
            return
        rate = (after["num_accepted"] - before["num_accepted"]) / proposed
        if rate > 1.1 * self.acceptance_rate_target:
            longest = _LONGEST_DRAFT * self.num_speculative_tokens
            self._draft_length = min(longest, 2 * self._draft_length)
        elif rate < 0.9 * self.acceptance_rate_target:
            self._draft_length = max(1, self._draft_length // 2)


class _Speculation:
    """The state of one generation, between runs of the compiled loop."""

    def __init__(self, pair: ModelPair, request: Request, widest: int, drafter: str):
        rows = request.prompts.rows
        self._pair, self._drafter, self.num_rows = pair, drafter, len(rows)
        capacity = padded_length(max(map(len, rows))) + max(request.limits) + widest
        session = Session(pair.target, len(rows), capacity)
        session.read_prompts(rows)
        self._request, self._sampling = request, request.sampling
        self._start = session.length + 1
        self.capacity = session.capacity
        caches = {"target": session.cache}
        if pair.draft is not None:
            caches["draft"] = pair.draft.initial_cache(len(rows), session.capacity)
        models = {"target": pair.target, "draft": pair.draft}
        grows = {name: grows_with_length(models[name], session.capacity) for name in caches}
        self._grows = tuple(keras.tree.flatten(grows))
        self._num_drafted = 0  # slots that the draft model has read: the prompt waits until there is a draft
        zero, num_ids = np.asarray(0, np.int32), request.num_ids
        self._inputs = SpeculationInputs(
            end=zero,
            padding=session.padding,
            ends=np.asarray([self._start + limit for limit in request.limits], np.int32),
            stop_ids=padded_stop_ids(request.stop_ids),
            sampling=self._sampling.values(num_ids),
            random=self._random_numbers(has_draft_model=pair.draft is not None),
        )
        self._state = SpeculationState(
            passes=zero,
            index=np.asarray(session.length, np.int32),
            text=self._text(rows),
            length=np.full(len(rows), self._start, np.int32),
            is_done=np.zeros(len(rows), bool),
            processors=self._sampling.processors.initial_state(rows, num_ids),
            counts=SpeculationCounts(zero, zero, zero),
            caches=caches,
        )

    @property
    def is_done(self) -> bool:
        return bool(np.all(self._state.is_done))

    def form(self, window: int) -> SpeculationForm:
        sampling = self._sampling.form(self._request.num_ids)
        return SpeculationForm(sampling, window, self._grows, self._drafter)

    def advance(self, function: Callable[..., Any], passes: int | None) -> None:
        """Runs up to `passes` passes; None runs all."""
        end = int(self._state.passes) + (self.capacity if passes is None else passes)
        self._state = function(self._state, self._inputs._replace(end=np.asarray(end, np.int32)))

    @property
    def num_unread(self) -> int:
        """Slots that the target has read and the draft model, if there is one, has not."""
        return 0 if self._pair.draft is None else int(self._state.index) - self._num_drafted

    def read_into_draft(self) -> None:
        """Lets the draft model read the prompt, and what passes without drafts have read."""
        if self.num_unread < 1:
            return
        start, end = self._num_drafted, int(self._state.index)
        ids, decoder = np.asarray(self._state.text)[:, start:end], decoder_for(self._pair.draft)
        cache = decoder.read(ids, self._state.caches["draft"], start, self._inputs.padding)
        leaf = keras.tree.flatten(cache)[0]
        np.asarray(leaf[(0,) * len(leaf.shape)])  # waits for the device, so that the time is that of all
        self._state = self._state._replace(caches={**self._state.caches, "draft": cache})

    def mark_drafted(self) -> None:
        """Notes that the draft model has read what the target has."""
        self._num_drafted = int(self._state.index)

    def progress(self) -> tuple[int, int]:
        """Returns the passes so far and the new tokens of all rows."""
        return int(self._state.passes), int(np.sum(np.asarray(self._state.length) - self._start))

    def counts(self) -> dict[str, int]:
        sums = {f"num_{name}": int(value) for name, value in self._state.counts._asdict().items()}
        return sums | {"num_tokens": int(np.sum(np.asarray(self._state.length) - self._start))}

    def new_ids(self) -> list[list[int]]:
        """Returns the new tokens of each row, up to those that complete a stop text."""
        text, length = np.asarray(self._state.text), np.asarray(self._state.length)
        rows = require_drawn([row[self._start : end].tolist() for row, end in zip(text, length, strict=True)])
        if not self._request.stop_texts:
            return rows
        return [self._request.continuation(index).up_to_stop(ids) for index, ids in enumerate(rows)]

    def end_at_stop_texts(self) -> None:
        """Ends the rows in which a stop text occurs."""
        rows = self.new_ids()
        is_stopped = [self._request.continuation(index).is_stopped(ids) for index, ids in enumerate(rows)]
        self._state = self._state._replace(is_done=np.asarray(self._state.is_done) | np.asarray(is_stopped))

    def _text(self, rows: list[list[int]]) -> np.ndarray:
        text = np.zeros((len(rows), self.capacity), np.int32)
        for index, row in enumerate(rows):
            text[index, self._start - len(row) : self._start] = row
        return text

    def _random_numbers(self, has_draft_model: bool) -> dict[str, np.ndarray]:
        """Random numbers by slot: a slot is decided once, so those of a dropped draft remain unused."""
        count, rows = max(self._request.limits), range(len(self._request.prompts.rows))
        streams = {"uniforms": [0, 1]}
        if has_draft_model:
            streams = {"uniforms": [0, 3], "draft_uniforms": [1, 3], "accept_uniforms": [2, 3]}
        numbers = uniforms_for(self._request.seed, rows, count * len(streams))
        return {name: self._by_slot(numbers[:, first::step]) for name, (first, step) in streams.items()}

    def _by_slot(self, numbers: np.ndarray) -> np.ndarray:
        by_slot = np.zeros((len(numbers), self.capacity), np.float32)
        by_slot[:, self._start : self._start + numbers.shape[1]] = numbers
        return by_slot


def _lowest_speed(value: float | str | None, drafter: Drafter) -> float | None:
    if value == "auto":
        return drafter.lowest_speed
    if value is None:
        return None
    if isinstance(value, (str, bool)) or not 0 < value < 1:
        raise ValueError(f'`lowest_speed` must be in (0, 1), None or "auto"; received {value!r}')
    return float(value)


def _ratio(count: int, of: int) -> float:
    return count / of if of else math.nan
