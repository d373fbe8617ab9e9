"""Encodes texts as the arrays of a token store, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError, Spans
from highnoon.data.ints import Ints
from highnoon.data.tokens.splitting import split_hash
from highnoon.tokenization import Tokenizer
from highnoon.tokenization.marked_text import MarkedText, Piece, text_pieces


class EncodedBatch(NamedTuple):
    """What a store has of some documents.

    Args:
        tokens: The framed ids of all documents, concatenated, in the store's type.
        lengths: Tokens of each document.
        num_bytes: UTF-8 bytes of each text.
        split_hashes: The number of each document that determines its side, see `document_hash`.
        supervised: Whether each token is supervised; None if all are.
    """

    tokens: npt.NDArray[Any]
    lengths: Ints
    num_bytes: Ints
    split_hashes: npt.NDArray[np.uint64]
    supervised: npt.NDArray[np.bool_] | None


def token_type(tokenizer: Tokenizer) -> str:
    """Returns the smallest NumPy type for the ids of `tokenizer`."""
    return "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"


def encode_batch(
    texts: Sequence[str],
    supervised: Sequence[Spans | None],
    tokenizer: Tokenizer,
    marks: Sequence[Spans] | None = None,
    split_hashes: Sequence[int | None] | None = None,
) -> EncodedBatch:
    """Returns the framed tokens of documents.

    A text with supervised spans is tokenized in pieces, split where a span or a special token begins or ends,
    so that the ids before a span are those that a model sees at inference when it continues the text.

    Args:
        texts: The text of each document.
        supervised: `Document.supervised` of each.
        tokenizer: The tokenizer.
        marks: `Document.marks` of each; None if no document has any.
        split_hashes: `Document.split_hash` of each; None if no document has one.

    Raises:
        DataError: If spans are out of order, empty, or beyond the text.
    """
    if any(spans is not None for spans in supervised) or any(marks or ()):
        batch = _encode_in_pieces(texts, supervised, marks or [()] * len(texts), tokenizer)
    else:
        batch = _framed(texts, *tokenizer.encode_packed(texts), tokenizer)[0]
    hashes = zip(texts, split_hashes or [None] * len(texts), strict=True)
    own = [split_hash(text) if given is None else given for text, given in hashes]
    return batch._replace(split_hashes=np.array(own, np.uint64))


def _encode_in_pieces(
    texts: Sequence[str], supervised: Sequence[Spans | None], marks: Sequence[Spans], tokenizer: Tokenizer
) -> EncodedBatch:
    pieces: list[Piece] = []
    owners: list[int] = []
    for owner, document in enumerate(map(MarkedText, texts, supervised, marks)):
        try:
            pieces += text_pieces(document, tokenizer)
        except ValueError as error:
            raise DataError(str(error)) from None
        owners += [owner] * (len(pieces) - len(owners))
    ids, counts = _encode_pieces(texts, pieces, owners, tokenizer)
    is_supervised = [piece.is_supervised for piece in pieces]
    batch, is_text, starts = _framed(
        texts, ids, np.bincount(owners, counts, len(texts)).astype(np.int64), tokenizer
    )
    flags = np.ones(len(is_text), np.bool_)
    flags[is_text] = np.repeat(np.array(is_supervised), counts)
    if tokenizer.bos_token_id is not None:
        flags[starts] = [spans is None for spans in supervised]
    if tokenizer.eos_token_id is not None:
        flags[starts + batch.lengths - 1] = [
            spans is None or (len(spans) > 0 and spans[-1][1] == len(text))
            for text, spans in zip(texts, supervised, strict=True)
        ]
    return batch._replace(supervised=flags)


def _encode_pieces(
    texts: Sequence[str], pieces: Sequence[Piece], owners: Sequence[int], tokenizer: Tokenizer
) -> tuple[npt.NDArray[np.int32], Ints]:
    """Returns the concatenated ids of all pieces, and the number of ids of each."""
    special = np.array([-1 if piece.special_id is None else piece.special_id for piece in pieces], np.int32)
    is_text = special < 0
    ids, counts = tokenizer.encode_packed(
        [
            texts[owner][piece.begin : piece.end]
            for piece, owner in zip(pieces, owners, strict=True)
            if piece.special_id is None
        ]
    )
    if is_text.all():
        return ids, counts
    all_counts = np.ones(len(pieces), np.int64)
    all_counts[is_text] = counts
    is_text_id = np.repeat(is_text, all_counts)
    all_ids = np.empty(len(is_text_id), np.int32)
    all_ids[is_text_id], all_ids[~is_text_id] = ids, special[~is_text]
    return all_ids, all_counts


def _framed(
    texts: Sequence[str], ids: npt.NDArray[np.int32], counts: Ints, tokenizer: Tokenizer
) -> tuple[EncodedBatch, npt.NDArray[np.bool_], Ints]:
    """Returns the batch, which of its tokens are text, and the first index of each document."""
    head, tail = tokenizer.bos_token_id, tokenizer.eos_token_id
    lengths = counts + ((head is not None) + (tail is not None))
    stops = np.cumsum(lengths)
    starts = stops - lengths
    tokens = np.empty(int(lengths.sum()), token_type(tokenizer))
    is_text = np.ones(len(tokens), np.bool_)
    for token_id, positions in ((head, starts), (tail, stops - 1)):
        if token_id is not None:
            is_text[positions] = False
            tokens[positions] = token_id
    tokens[is_text] = ids
    num_bytes = np.array([len(text) if text.isascii() else len(text.encode()) for text in texts], np.int64)
    unset = np.zeros(len(texts), np.uint64)
    return EncodedBatch(tokens, lengths, num_bytes, unset, None), is_text, starts
