"""Drops texts that have parts of a benchmark."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from highnoon.config import require_count
from highnoon.data.cleaning.benchmark_index import BenchmarkIndex
from highnoon.data.cleaning.contamination import GRAM_WORDS
from highnoon.data.cleaning.step import StatelessStep, Verdict
from highnoon.data.document import DataError, Document, DocumentSource
from highnoon.data.sources.open_source import open_source


@dataclasses.dataclass(frozen=True)
class NotIn(StatelessStep):
    """Drops texts that have an n-gram of `n` words in common with a benchmark, or any other source.

    `find_contamination` describes matches and memory.

    Args:
        benchmark: A source, or its name for `open_source`. Each document is an example.
        n: Words of an n-gram, at least 2.

    Raises:
        DataError: If `n` is out of range, or the benchmark cannot be read or has no words.
    """

    reason = "in a benchmark"

    benchmark: DocumentSource | str
    n: int = GRAM_WORDS

    def __post_init__(self) -> None:
        require_count("n", self.n, least=2, error=DataError)
        object.__setattr__(self, "benchmark", open_source(self.benchmark))

    def judge(self, document: Document) -> Verdict:
        return f"in {self._source.name}" if self._index.holds(document.text) else None

    def options(self) -> dict[str, Any]:
        return {"benchmark": self._source.name, "fingerprint": self._source.fingerprint(), "n": self.n}

    @property
    def _source(self) -> DocumentSource:
        return open_source(self.benchmark)

    @functools.cached_property
    def _index(self) -> BenchmarkIndex:
        return BenchmarkIndex(self._source.name, self._source.documents(), self.n).require_words()
