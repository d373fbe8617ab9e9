"""From texts to the bytes of a token store, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError
from highnoon.data.row_layout import Ints
from highnoon.data.splitting import split_hash
from highnoon.tokenization import Tokenizer

Stretches = tuple[tuple[int, int], ...] | None


class EncodedBatch(NamedTuple):
    """What a store keeps of some documents.

    Args:
        tokens: The framed ids of all, one after another, in the store's type.
        lengths: Tokens of each document.
        num_bytes: UTF-8 bytes of each text.
        split_hashes: `split_hash` of each text.
        learned: For each token whether a model learns to write it; None where all are.
    """

    tokens: npt.NDArray[Any]
    lengths: Ints
    num_bytes: Ints
    split_hashes: npt.NDArray[np.uint64]
    learned: npt.NDArray[np.bool_] | None


def token_type(tokenizer: Tokenizer) -> str:
    """Returns the NumPy type that holds every id of `tokenizer`."""
    return "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"


def encode_batch(texts: Sequence[str], learned: Sequence[Stretches], tokenizer: Tokenizer) -> EncodedBatch:
    """Returns the framed tokens of documents, each a text and what of it is learnt (`Document.learned`).

    A text with stretches is tokenised in pieces, cut where a stretch begins or ends, so that the ids of
    what stands before a stretch are those that a model sees when it is asked to go on from there.

    Raises:
        DataError: stretches that are out of order, empty, or beyond the text.
    """
    if any(stretches is not None for stretches in learned):
        return _encode_in_pieces(texts, learned, tokenizer)
    ids, counts = tokenizer.encode_packed(texts)
    return _framed(texts, ids, counts, tokenizer)[0]


def _encode_in_pieces(texts: Sequence[str], learned: Sequence[Stretches],
                      tokenizer: Tokenizer) -> EncodedBatch:
    pieces: list[str] = []
    is_learned: list[bool] = []
    owners: list[int] = []
    for owner, (text, stretches) in enumerate(zip(texts, learned, strict=True)):
        for begin, end, is_piece_learned in _cut(text, stretches):
            pieces.append(text[begin:end])
            is_learned.append(is_piece_learned)
            owners.append(owner)
    ids, counts = tokenizer.encode_packed(pieces)
    batch, is_text, starts = _framed(
        texts, ids, np.bincount(owners, counts, len(texts)).astype(np.int64), tokenizer)
    flags = np.ones(len(is_text), np.bool_)
    flags[is_text] = np.repeat(np.array(is_learned), counts)
    if tokenizer.bos_token_id is not None:
        flags[starts] = [stretches is None for stretches in learned]
    if tokenizer.eos_token_id is not None:
        flags[starts + batch.lengths - 1] = [
            stretches is None or (len(stretches) > 0 and stretches[-1][1] == len(text))
            for text, stretches in zip(texts, learned, strict=True)]
    return batch._replace(learned=flags)


def _cut(text: str, stretches: Stretches) -> list[tuple[int, int, bool]]:
    """(begin, end, learnt) of the pieces of a text."""
    if stretches is None:
        return [(0, len(text), True)]
    pieces, place = [], 0
    for begin, end in stretches:
        if not place <= begin < end <= len(text):
            raise DataError(f"`learned` must be stretches (begin, end) in order, apart and within the text "
                            f"of {len(text)} characters; received {(begin, end)} after {place}")
        pieces += [(place, begin, False), (begin, end, True)]
        place = end
    pieces.append((place, len(text), False))
    return [piece for piece in pieces if piece[0] < piece[1]]


def _framed(texts: Sequence[str], ids: npt.NDArray[np.int32], counts: Ints,
            tokenizer: Tokenizer) -> tuple[EncodedBatch, npt.NDArray[np.bool_], Ints]:
    """The batch, which of its tokens are text, and where each document begins."""
    head, tail = tokenizer.bos_token_id, tokenizer.eos_token_id
    lengths = counts + ((head is not None) + (tail is not None))
    stops = np.cumsum(lengths)
    starts = stops - lengths
    tokens = np.empty(int(lengths.sum()), token_type(tokenizer))
    is_text = np.ones(len(tokens), np.bool_)
    for token_id, places in ((head, starts), (tail, stops - 1)):
        if token_id is not None:
            is_text[places] = False
            tokens[places] = token_id
    tokens[is_text] = ids
    num_bytes = np.array([len(text) if text.isascii() else len(text.encode()) for text in texts], np.int64)
    hashes = np.array([split_hash(text) for text in texts], np.uint64)
    return EncodedBatch(tokens, lengths, num_bytes, hashes, None), is_text, starts
