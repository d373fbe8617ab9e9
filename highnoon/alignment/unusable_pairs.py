"""Pairs that cannot be used in rows of some length, found by their ids."""

from __future__ import annotations

import numpy as np

from highnoon.data.bad_records import BadRecordError
from highnoon.data.ints import Ints
from highnoon.data.sequences.split_documents import SplitDocuments


def unusable_pairs(documents: SplitDocuments, row_length: int, *, may_be_equal: bool, raises: bool) -> Ints:
    """Returns the indices of the pairs that cannot be used.

    They are those without a supervised token among the labels that are read, because the prompt fills a row,
    and those whose documents are equal as far as they are read.

    Args:
        documents: The documents of one side of the split, two a pair.
        row_length: Tokens of each document that are read; the token behind them is still a label.
        may_be_equal: Whether equal documents can be used.
        raises: Whether the first such pair is an error.

    Raises:
        BadRecordError: If so; the message has its location.
    """
    found = []
    for pair in range(len(documents) // 2):
        problem = _problem(documents, 2 * pair, row_length, may_be_equal=may_be_equal)
        if problem is not None and raises:
            store, index = documents.locate(2 * pair)
            location = store.origin(index) or f"{store.name} document {index}"
            raise BadRecordError(
                f"{location}: {problem}; raise `max_seq_length`, shorten the record, or give the objective "
                'overlong="skip"',
                "overlong",
                location,
            )
        if problem is not None:
            found.append(pair)
    return np.array(found, np.int64)


def _problem(documents: SplitDocuments, first: int, row_length: int, *, may_be_equal: bool) -> str | None:
    ids = []
    for document in (first, first + 1):
        store, index = documents.locate(document)
        begin, length = int(store.offsets[index]), int(store.lengths[index])
        stop = begin + min(length, row_length + 1)
        if length > row_length and store.all_supervised is not None:
            if not np.asarray(store.all_supervised[begin + 1 : stop]).any():
                return f"the prompt fills a row of max_seq_length={row_length} tokens, and leaves no answer"
        ids.append(np.asarray(store.all_tokens[begin:stop]))
    if not may_be_equal and np.array_equal(ids[0], ids[1]):
        return f"both answers are equal in the first {len(ids[0])} tokens, which are read of them"
    return None
