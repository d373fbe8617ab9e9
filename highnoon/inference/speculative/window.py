"""The tokens that one pass of speculative decoding reads."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras
from keras import ops

from highnoon.inference.decoding.sampling import SamplingForm, SamplingValues


@dataclasses.dataclass(frozen=True)
class SpeculationForm:
    """What a compiled loop depends on.

    Args:
        sampling: Which operations choose a token.
        window: Tokens that a pass reads, one more than it drafts at most; 1 for passes without drafts.
        grows: For target and draft, the caches' structures with True where an array grows with the
            text, as hashable leaves.
        drafter: The name of the drafter.
    """

    sampling: SamplingForm
    window: int
    grows: tuple[bool, ...]
    drafter: str

    @property
    def holds_state(self) -> bool:
        return not all(self.grows)


class SpeculationCounts(NamedTuple):
    """Sums over the passes so far, scalars.

    Args:
        proposed: Tokens drafted.
        accepted: Drafted tokens that became part of the text.
        row_passes: Passes, counted once for each row that had not ended.
    """

    proposed: Any
    accepted: Any
    row_passes: Any


class SpeculationState(NamedTuple):
    """What changes from pass to pass.

    Args:
        passes: Scalar, the passes so far.
        index: Scalar, the first cache slot of the window.
        text: (b, c) tokens by slot.
        length: (b,) the slot at which each row's known tokens end.
        is_done: (b,) bool, the rows that have ended.
        processors: The logits processors' state after each row's known tokens.
        counts: Sums over the passes.
        caches: The caches by model, `"target"` and, with a draft model, `"draft"`.
    """

    passes: Any
    index: Any
    text: Any
    length: Any
    is_done: Any
    processors: Any
    counts: SpeculationCounts
    caches: dict[str, Any]


class SpeculationInputs(NamedTuple):
    """What stays the same.

    Args:
        end: Scalar, the pass before which to stop.
        padding: (b,) empty slots at the front of each row.
        ends: (b,) the slot at which a row ends at the latest.
        stop_ids: (s,) a row ends after any of these.
        sampling: The numbers of the sampling.
        random: Random numbers in [0, 1), (b, c) by slot and by name: `"uniforms"`, with a draft model also
            `"draft_uniforms"` and `"accept_uniforms"`.
    """

    end: Any
    padding: Any
    ends: Any
    stop_ids: Any
    sampling: SamplingValues
    random: dict[str, Any]


class Window:
    """The slots of one pass. Position w reads slot index + w and decides on slot index + w + 1.

    Args:
        form: Which operations run.
        now: The state before the pass.
        inputs: What stays the same.
    """

    def __init__(self, form: SpeculationForm, now: SpeculationState, inputs: SpeculationInputs):
        self.form, self.now, self.inputs = form, now, inputs
        self.width = form.window
        self.num_rows = now.text.shape[0]
        self.known_ids = self.read(now.text)
        self.positions = ops.arange(self.width, dtype="int32")[None]
        self.decided = now.index + self.positions + 1
        self.is_known = now.index + self.positions < now.length[:, None]
        self.is_decided_known = self.decided < now.length[:, None]
        self.is_working = ops.logical_not(now.is_done)

    def read(self, by_slot: Any, ahead: int = 0) -> Any:
        """Returns (b, w), the columns of the slots that are read, or those `ahead` of them."""
        return ops.slice(by_slot, [0, self.now.index + ahead], [self.num_rows, self.width])

    def random(self, name: str) -> Any:
        """Returns (b, w), the random numbers of the slots that are decided on."""
        return self.read(self.inputs.random[name], ahead=1)

    def flat(self, array: Any) -> Any:
        """(b, w, ..) as (b * w, ..), each position as a row of its own."""
        return ops.reshape(array, (self.num_rows * self.width, *array.shape[2:]))

    def unflat(self, array: Any) -> Any:
        """(b * w, ..) as (b, w, ..)."""
        return ops.reshape(array, (self.num_rows, self.width, *array.shape[1:]))

    def advance(self, processors: Any, token_ids: Any, is_new: Any) -> Any:
        """Returns the processors' state after one more token (b,) of the rows where `is_new` (b,) holds."""
        after = self.form.sampling.advance(processors, token_ids, self.inputs.sampling)
        return keras.tree.map_structure(
            lambda new, old: ops.where(
                ops.reshape(is_new, (self.num_rows, *[1] * (len(new.shape) - 1))), new, old
            ),
            after,
            processors,
        )

    def processors_by_position(self, ids: Any) -> Any:
        """Returns the processors' states (b * w, ..) that see the tokens up to each position.

        Args:
            ids: (b, w) known and drafted tokens that are read.
        """
        states, processors = [], self.now.processors
        if not keras.tree.flatten(processors):
            return processors
        for position in range(self.width):
            # The state before the pass contains the known tokens already.
            is_draft = ops.logical_not(self.is_known[:, position])
            processors = self.advance(processors, ids[:, position], is_draft)
            states.append(processors)
        return keras.tree.map_structure(lambda *leaves: self.flat(ops.stack(leaves, axis=1)), *states)

    def processors_after(self, chosen: Any, is_new: Any) -> Any:
        """Returns the processors' state after the pass.

        Args:
            chosen: (b, w) the token that follows each position.
            is_new: (b, w) whether it is a token that the pass adds to the text.
        """
        processors = self.now.processors
        if not keras.tree.flatten(processors):
            return processors
        for position in range(self.width):
            processors = self.advance(processors, chosen[:, position], is_new[:, position])
        return processors
