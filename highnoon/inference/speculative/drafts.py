"""Drafts for the slots of a window whose tokens are not known yet."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

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


def has_draft(window: Window) -> Any:
    """Returns (b, w) whether the slot that a position decides on is open and has a position of its own."""
    is_open = (window.decided >= window.now.length[:, None]) & (window.decided < window.inputs.ends[:, None])
    return is_open & (window.positions < window.width - 1)


def no_drafts(window: Window) -> Drafts:
    """Returns the known tokens alone: what follows them is drawn as in plain decoding."""
    return Drafts(window.known_ids, ops.zeros_like(window.is_known))
