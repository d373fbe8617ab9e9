"""The only document of a store as a training and a held-out part."""

from __future__ import annotations

import copy
import hashlib

import numpy as np

from highnoon.data.tokens.cut_document import cut_document
from highnoon.data.tokens.splitting import split_threshold
from highnoon.data.tokens.token_store import TokenStore


def is_one_text(store: TokenStore) -> bool:
    """Returns whether a store has one document, all of it supervised and without a label, that can be cut."""
    is_plain = store.labels is None and store.all_supervised is None
    return len(store) == 1 == store.manifest["documents"] and is_plain and int(store.lengths[0]) >= 4


def split_by_length(store: TokenStore) -> TokenStore:
    """Returns a store with its only document cut in two, of which the end is held out.

    A hash of its text would hold out all of it or nothing. The end has at most `validation_split` of the
    bytes. A store of several documents, or of which nothing is to be held out, is returned as it is.

    Args:
        store: The store; it is not changed.
    """
    if not is_one_text(store) or not split_threshold(store.validation_split):
        return store
    total, num_bytes = int(store.lengths[0]), int(store.num_bytes[0])
    cut, held_out_bytes = cut_document(store.tokens(0), num_bytes, store.validation_split, store.tokenizer)
    if cut is None:
        return store
    parts = copy.copy(store)
    parts.lengths = np.array([cut, total - cut], np.int64)
    parts.num_bytes = np.array([num_bytes - held_out_bytes, held_out_bytes], np.int64)
    parts.offsets = np.array([0, cut, total], np.int64)
    parts.domains = np.repeat(store.domains, 2)
    parts.split_hashes = np.repeat(store.split_hashes, 2)
    parts.is_validation = np.array([False, True])
    described = f"{store.fingerprint}, cut at {cut}"
    parts.fingerprint = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()
    return parts
