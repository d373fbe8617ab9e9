"""Text that a template wrote: which of it is supervised, and which of it are special tokens."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from highnoon.tokenization.tokenizer import Tokenizer

Stretches = tuple[tuple[int, int], ...]


class MarkedText(NamedTuple):
    """A text with stretches of characters `(start, stop)`, each list in order and apart.

    Args:
        text: The text.
        learned: What a model learns to write; None is all of it.
        marks: What a template wrote and a tokenizer may have as a special token, such as `<|im_end|>`. The
            same characters in the words of a user are never among them.
    """

    text: str
    learned: Stretches | None = None
    marks: Stretches = ()


class Piece(NamedTuple):
    """Part of a text that is encoded by itself.

    Args:
        begin: Its first character.
        end: One after its last character.
        is_learned: Whether a model learns to write it.
        special_id: The special token that it is, None for text.
    """

    begin: int
    end: int
    is_learned: bool
    special_id: int | None


def text_pieces(marked: MarkedText, tokenizer: Tokenizer) -> list[Piece]:
    """Returns the pieces of a text, cut where a learned stretch or a special token begins or ends.

    A begin token that opens the text and an end token that closes it are left out: the framing of a
    document writes them.

    Raises:
        ValueError: learned stretches that are out of order, empty, or beyond the text.
    """
    text = marked.text
    ids = tokenizer.ids_of_special_tokens if marked.marks else {}
    special = collections.deque(
        (begin, end, ids[text[begin:end]]) for begin, end in marked.marks if text[begin:end] in ids
    )
    pieces: list[Piece] = []
    for begin, end, is_learned in _cut(text, marked.learned):
        while special and special[0][0] < end:
            start, stop, special_id = special.popleft()
            # A mark that a stretch cuts in two stays text.
            if begin <= start and stop <= end:
                if begin < start:
                    pieces.append(Piece(begin, start, is_learned, None))
                pieces.append(Piece(start, stop, is_learned, special_id))
                begin = stop
        if begin < end:
            pieces.append(Piece(begin, end, is_learned, None))
    if pieces and pieces[0].special_id is not None and pieces[0].special_id == tokenizer.bos_token_id:
        del pieces[0]
    if pieces and pieces[-1].special_id is not None and pieces[-1].special_id == tokenizer.eos_token_id:
        del pieces[-1]
    return pieces


def encode_prompt(marked: MarkedText, tokenizer: Tokenizer) -> list[int]:
    """Returns the ids of a text that a model continues: the begin token and the ids of its pieces."""
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    for piece in text_pieces(marked, tokenizer):
        if piece.special_id is None:
            ids += tokenizer.encode(marked.text[piece.begin : piece.end], add_special_tokens=False)
        else:
            ids.append(piece.special_id)
    return ids


def _cut(text: str, learned: Sequence[tuple[int, int]] | None) -> list[tuple[int, int, bool]]:
    """(begin, end, whether it is learned) of the parts of a text."""
    if learned is None:
        return [(0, len(text), True)] if text else []
    parts, place = [], 0
    for begin, end in learned:
        if not place <= begin < end <= len(text):
            raise ValueError(
                f"`learned` must be stretches (begin, end) in order, apart and within the text "
                f"of {len(text)} characters; received {(begin, end)} after {place}"
            )
        parts += [(place, begin, False), (begin, end, True)]
        place = end
    parts.append((place, len(text), False))
    return [part for part in parts if part[0] < part[1]]
