"""The text that new tokens add to a prompt, up to the first stop sequence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

_INCOMPLETE = "\ufffd"


class Continuation:
    """Decodes the new tokens of a prompt, with stop sequences.

    Args:
        tokenizer: Has `decode`.
        prompt_ids: The prompt.
        stop_sequences: Texts; the first that occurs in the continuation ends it and is cut off.
        marked_stop_sequences: Texts that contain the name of a special token, such as `"<|im_end|>\\n"`. They
            are searched for in the continuation with special tokens written out, which its text omits.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt_ids: Sequence[int],
        stop_sequences: Sequence[str] = (),
        marked_stop_sequences: Sequence[str] = (),
    ):
        self._tokenizer = tokenizer
        self._prompt_ids = list(prompt_ids)
        self._stops, self._marked_stops = tuple(stop_sequences), tuple(marked_stop_sequences)
        self._prompts = {False: self._decoded(self._prompt_ids, is_marked=False)}
        if self._marked_stops:
            self._prompts[True] = self._decoded(self._prompt_ids, is_marked=True)

    def text(self, new_ids: Sequence[int]) -> str:
        """Returns the continuation, up to the first stop sequence."""
        text = self._full_text(new_ids)
        return text[: self._first_stop(new_ids, text)]

    def is_stopped(self, new_ids: Sequence[int]) -> bool:
        """Whether a stop sequence occurs."""
        if not (self._stops or self._marked_stops):
            return False
        return self._first_stop(new_ids, self._full_text(new_ids)) is not None

    def settled(self, new_ids: Sequence[int]) -> str:
        """Returns the part of the text that no further token can change.

        It ends before an incomplete character, and before what may be the beginning of a stop sequence.
        """
        text = self._full_text(new_ids)
        cut = self._first_stop(new_ids, text)
        if cut is not None:
            return text[:cut]
        text = text.rstrip(_INCOMPLETE)
        kept = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        if self._marked_stops:
            marked = self._full_text(new_ids, is_marked=True).rstrip(_INCOMPLETE)
            begun = max(_overlap(marked, stop) for stop in self._marked_stops)
            kept = min(kept, self._length_before(new_ids, len(marked) - begun))
        return text[:kept]

    def up_to_stop(self, new_ids: list[int]) -> list[int]:
        """Returns the shortest prefix of the ids whose text contains a stop sequence; all if none does."""
        if not self.is_stopped(new_ids):
            return new_ids
        return next(new_ids[:n] for n in range(1, len(new_ids) + 1) if self.is_stopped(new_ids[:n]))

    def _first_stop(self, new_ids: Sequence[int], text: str) -> int | None:
        """Returns the length of the text before the first stop sequence; None if none occurs."""
        cuts = [_first(_searched(text, self._stops), self._stops)]
        if self._marked_stops:
            marked = _searched(self._full_text(new_ids, is_marked=True), self._marked_stops)
            position = _first(marked, self._marked_stops)
            cuts.append(None if position is None else self._length_before(new_ids, position))
        return min((cut for cut in cuts if cut is not None), default=None)

    def _length_before(self, new_ids: Sequence[int], marked_length: int) -> int:
        """Returns the length of the text before a position in the text with special tokens written out."""
        count = next(
            n
            for n in range(len(new_ids), -1, -1)
            if len(self._full_text(new_ids[:n], is_marked=True)) <= marked_length
        )
        # A position within a token: what it adds before the position is plain text.
        begun = marked_length - len(self._full_text(new_ids[:count], is_marked=True))
        return len(self._full_text(new_ids[:count])) + begun

    def _full_text(self, new_ids: Sequence[int], is_marked: bool = False) -> str:
        # Decoded with the prompt: some tokenizers drop a space at the start of a text, and a
        # prompt of ids may end within a character.
        text = self._decoded([*self._prompt_ids, *new_ids], is_marked)
        return text[len(os.path.commonprefix([self._prompts[is_marked], text])) :]

    def _decoded(self, ids: list[int], is_marked: bool) -> str:
        return str(
            self._tokenizer.decode(ids, skip_special_tokens=False)
            if is_marked
            else self._tokenizer.decode(ids)
        )


def _searched(text: str, stops: Sequence[str]) -> str:
    """The part of the text in which stops are searched for: an incomplete character is not U+FFFD yet."""
    return text.rstrip(_INCOMPLETE) if any(_INCOMPLETE in stop for stop in stops) else text


def _first(text: str, stops: Sequence[str]) -> int | None:
    return min((position for position in map(text.find, stops) if position >= 0), default=None)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, but not all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
