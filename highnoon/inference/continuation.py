"""The text that new tokens add to a prompt, cut at stop sequences."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

_INCOMPLETE = "\ufffd"


class Continuation:
    """What a prompt's new tokens read as.

    Args:
        tokenizer: Has `decode`.
        prompt_ids: The prompt.
        stop_sequences: Texts; the first that occurs in the continuation ends it and is cut off.
    """

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int], stop_sequences: Sequence[str] = ()):
        self._tokenizer = tokenizer
        self._prompt_ids = list(prompt_ids)
        self._prompt = tokenizer.decode(self._prompt_ids)
        self._stops = tuple(stop_sequences)

    def text(self, new_ids: Sequence[int]) -> str:
        """Returns the continuation, up to the first stop sequence."""
        text = self._whole(new_ids)
        return text[: _first_stop(text, self._stops)]

    def is_stopped(self, new_ids: Sequence[int]) -> bool:
        """Whether a stop sequence occurs."""
        return bool(self._stops) and _first_stop(self._whole(new_ids), self._stops) is not None

    def settled(self, new_ids: Sequence[int]) -> str:
        """Returns the part of the text that no further token can change.

        A character whose bytes are not all there, and what may be the beginning of a stop
        sequence, are left for later.
        """
        text = self._whole(new_ids)
        cut = _first_stop(text, self._stops)
        if cut is not None:
            return text[:cut]
        text = text.rstrip(_INCOMPLETE)
        return text[: len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)]

    def up_to_stop(self, new_ids: list[int]) -> list[int]:
        """Returns the fewest of the ids whose text holds a stop sequence; all where none occurs."""
        if not self.is_stopped(new_ids):
            return new_ids
        return next(new_ids[:n] for n in range(1, len(new_ids) + 1) if self.is_stopped(new_ids[:n]))

    def _whole(self, new_ids: Sequence[int]) -> str:
        # Decoded with the prompt: some tokenizers drop a space at the start of a text, and a
        # prompt of ids may end within a character.
        whole = self._tokenizer.decode([*self._prompt_ids, *new_ids])
        return whole[len(os.path.commonprefix([self._prompt, whole])) :]


def _first_stop(text: str, stops: Sequence[str]) -> int | None:
    return min((place for place in map(text.find, stops) if place >= 0), default=None)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, but not all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
