"""Statistics of a source or a store: sizes, domains, lengths and duplicates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.data.bad_records import reason_for_nothing
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.ints import Ints
from highnoon.data.tokens.splitting import document_hash
from highnoon.data.tokens.token_store import TokenStore

PERCENTILES = (5, 25, 50, 75, 95, 99, 100)


@dataclasses.dataclass(frozen=True)
class DataStatistics:
    """Statistics of documents.

    Args:
        name: The name of the source or store.
        documents: The number of documents.
        num_bytes: UTF-8 bytes of their text.
        tokens: Their tokens, including framing; None if they are not tokenized.
        supervised_tokens: Their supervised tokens; None if they are not tokenized.
        duplicates: Documents with the same text as an earlier one, by a 64-bit hash; of a task, with the same
            prompt.
        lengths: Percentile (5 to 100) to bytes of a document.
        token_lengths: Percentile to tokens of a document; empty if they are not tokenized.
        domains: Domain to documents, bytes and, if known, tokens.
    """

    name: str
    documents: int
    num_bytes: int
    tokens: int | None
    supervised_tokens: int | None
    duplicates: int
    lengths: dict[int, int]
    token_lengths: dict[int, int]
    domains: dict[str, dict[str, int]]

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of text per token."""
        return self.num_bytes / self.tokens if self.tokens else None

    @property
    def learned_tokens(self) -> int | None:
        """The former name of `supervised_tokens`."""
        return self.supervised_tokens

    def as_dict(self) -> dict[str, Any]:
        """Returns all statistics as JSON values."""
        derived = {"bytes_per_token": self.bytes_per_token, "learned_tokens": self.learned_tokens}
        return dataclasses.asdict(self) | derived


def source_statistics(source: DocumentSource) -> DataStatistics:
    """Returns the statistics of a source; reads it once and uses 18 bytes of memory per document.

    Raises:
        DataError: If it has no documents or cannot be read.
    """
    names: dict[str, int] = {}
    rows = (
        (
            len(document.text.encode()),
            document_hash(document),
            names.setdefault(document.domain, len(names)),
        )
        for document in source.documents()
    )
    table = np.fromiter(rows, [("bytes", "<i8"), ("hash", "<u8"), ("domain", "<u2")])
    if not len(table):
        reason = reason_for_nothing(source)
        raise DataError(f"{source.name} has no documents{reason}; use a source with text")
    return _statistics(source.name, table["bytes"], table["hash"], table["domain"], list(names))


def store_statistics(store: TokenStore) -> DataStatistics:
    """Returns the statistics of a store, including tokens."""
    supervised = store.all_supervised
    tokens = int(store.offsets[-1])
    return dataclasses.replace(
        _statistics(
            store.name, store.num_bytes, store.split_hashes, store.domains, store.domain_names, store.lengths
        ),
        supervised_tokens=tokens if supervised is None else int(np.count_nonzero(supervised)),
    )


def _statistics(
    name: str,
    num_bytes: Ints,
    hashes: npt.NDArray[np.uint64],
    domains: npt.NDArray[Any],
    domain_names: Sequence[str],
    lengths: Ints | None = None,
) -> DataStatistics:
    columns = {"documents": np.ones_like(num_bytes), "bytes": num_bytes}
    if lengths is not None:
        columns["tokens"] = lengths
    sums = {
        column: np.bincount(domains, values, len(domain_names)).astype(np.int64)
        for column, values in columns.items()
    }
    return DataStatistics(
        name,
        len(num_bytes),
        int(num_bytes.sum()),
        None if lengths is None else int(lengths.sum()),
        None,
        len(hashes) - len(np.unique(hashes)),
        _percentiles(num_bytes),
        {} if lengths is None else _percentiles(lengths),
        {
            domain: {column: int(of_domain[number]) for column, of_domain in sums.items()}
            for number, domain in enumerate(domain_names)
        },
    )


def _percentiles(values: Ints) -> dict[int, int]:
    found = np.percentile(values, PERCENTILES, method="inverted_cdf")
    return dict(zip(PERCENTILES, found.astype(int).tolist(), strict=True))
