"""Text that a template wrote, with its supervised spans and its special tokens."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from highnoon.tokenization.tokenizer import Tokenizer

Spans = tuple[tuple[int, int], ...]


class MarkedText(NamedTuple):
    """A text with spans of characters `(start, stop)`, each list in order and without overlap.

    Args:
        text: The text.
        supervised: Spans whose tokens count in the loss; None for the complete text.
        marks: Spans that a template wrote and that a tokenizer may have as special tokens, such as
            `<|im_end|>`. The same characters in the words of a user are never among them.
    """

    text: str
    supervised: Spans | None = None
    marks: Spans = ()

    @property
    def learned(self) -> Spans | None:
        """The earlier name of `supervised`."""
        return self.supervised


class Piece(NamedTuple):
    """Part of a text that is encoded by itself.

    Args:
        begin: Its first character.
        end: One after its last character.
        is_supervised: Whether its tokens count in the loss.
        special_id: The id if it is a special token, None for text.
    """

    begin: int
    end: int
    is_supervised: bool
    special_id: int | None


def text_pieces(marked: MarkedText, tokenizer: Tokenizer) -> list[Piece]:
    """Returns the pieces of a text, cut where a supervised span or a special token begins or ends.

    A begin token that opens the text and an end token that closes it are left out: the framing of a
    document writes them.

    Raises:
        ValueError: supervised spans are out of order, empty, or beyond the text.
    """
    text = marked.text
    ids = tokenizer.ids_of_special_tokens if marked.marks else {}
    special = collections.deque(
        (begin, end, ids[text[begin:end]]) for begin, end in marked.marks if text[begin:end] in ids
    )
    pieces: list[Piece] = []
    for begin, end, is_supervised in _cut(text, marked.supervised):
        while special and special[0][0] < end:
            start, stop, special_id = special.popleft()
            # A mark that a span cuts in two stays text.
            if begin <= start and stop <= end:
                if begin < start:
                    pieces.append(Piece(begin, start, is_supervised, None))
                pieces.append(Piece(start, stop, is_supervised, special_id))
                begin = stop
        if begin < end:
            pieces.append(Piece(begin, end, is_supervised, None))
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


def _cut(text: str, supervised: Sequence[tuple[int, int]] | None) -> list[tuple[int, int, bool]]:
    """(begin, end, whether it is supervised) of the parts of a text."""
    if supervised is None:
        return [(0, len(text), True)] if text else []
    parts, position = [], 0
    for begin, end in supervised:
        if not position <= begin < end <= len(text):
            raise ValueError(
                f"`supervised` must be spans (begin, end) in order, without overlap and within the text "
                f"of {len(text)} characters; received {(begin, end)} after {position}"
            )
        parts += [(position, begin, False), (begin, end, True)]
        position = end
    parts.append((position, len(text), False))
    return [part for part in parts if part[0] < part[1]]
