"""Texts that hold parts of a benchmark."""

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
    """Drops texts that share a run of `n` words with a benchmark, or any other source.

    What counts as shared, and what the benchmark takes in memory, `find_contamination` says.

    Args:
        benchmark: A source, or its name as `open_source` takes it. Each document is an example.
        n: Words of a run, at least 2.

    Raises:
        DataError: `n` is out of range, or the benchmark cannot be read or holds no words.
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
