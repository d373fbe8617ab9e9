"""The runs of words of some texts, to be found again in others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from highnoon.config import require_count
from highnoon.data.cleaning.word_ngrams import Hashes, hash_ngrams, hash_words, split_words, word_pattern
from highnoon.data.document import DataError, Document

# A shorter text says little by itself: it counts only where it is the whole of another.
SHORTEST_SOUGHT_WORDS = 8
# Rows of the filter for each run, or up to twice as many: one in eight others passes it at most, and is
# then looked up.
_FILTER_ROWS = 8
_MOST_FILTER_ROWS = 1 << 28


@dataclasses.dataclass(frozen=True)
class Overlap:
    """A run of words in a text that an example holds too.

    Args:
        example: Number of the example in the index.
        example_span: First and last but one character of the run in the example.
        word: Place of the run's first word in the text.
        num_words: Its length.
    """

    example: int
    example_span: tuple[int, int]
    word: int
    num_words: int


class BenchmarkIndex:
    """Every run of `n` words of some examples, as sorted 64-bit hashes.

    A run takes 20 bytes, its place in a filter 8 to 16 more; twice that while the index is made. Hashes are
    taken at their word: among a trillion runs looked up in a benchmark of ten million, about one in two
    such searches finds one that is not there.

    Args:
        name: What reports call the examples.
        examples: They, read once.
        n: Words of a run, at least 2. An example of fewer words is one run of its own length.

    Raises:
        DataError: `n` is out of range.
    """

    def __init__(self, name: str, examples: Iterable[Document], n: int) -> None:
        require_count("n", n, least=2, error=DataError)
        self.name = name
        self.n = n
        self.labels: list[tuple[str, str]] = []
        parts: dict[int, list[tuple[npt.NDArray, ...]]] = {}
        for document in examples:
            words = hash_words(split_words(document.text))
            if not len(words):
                continue
            size = min(n, len(words))
            parts.setdefault(size, []).append(_runs(document.text, words, size, len(self.labels)))
            self.labels.append((document.source, document.id))
        self._runs = {
            size: _Runs(*map(np.concatenate, zip(*parts.pop(size), strict=True))) for size in sorted(parts)
        }

    def __len__(self) -> int:
        return len(self.labels)

    def require_words(self) -> BenchmarkIndex:
        """Returns itself.

        Raises:
            DataError: no example has a word.
        """
        if not self.labels:
            raise DataError(f"{self.name} holds no words to look for; give a source of texts")
        return self

    def holds(self, text: str) -> bool:
        """Whether the text shares a run with any example."""
        return bool(self.find(text))

    def find(self, text: str) -> list[Overlap]:
        """Returns the first run that the text shares with each example that it shares any with."""
        return self.find_hashed(hash_words(split_words(text)))

    def find_hashed(self, words: Hashes) -> list[Overlap]:
        """As `find`, of the hashes of a text's words."""
        found: dict[int, Overlap] = {}
        for size, runs in self._runs.items():
            if size < SHORTEST_SOUGHT_WORDS and size < self.n and size != len(words):
                continue
            places, rows = runs.find(hash_ngrams(words, size))
            for place, row in zip(places.tolist(), rows.tolist(), strict=True):
                example = int(runs.examples[row])
                span = (int(runs.starts[row]), int(runs.stops[row]))
                found.setdefault(example, Overlap(example, span, place, size))
        return list(found.values())


class _Runs:
    """Runs of one length: their hashes in order, with the example and the characters of each."""

    def __init__(
        self, hashes: Hashes, examples: npt.NDArray, starts: npt.NDArray, stops: npt.NDArray
    ) -> None:
        order = np.argsort(hashes, kind="stable")
        self.hashes = hashes[order]
        self.examples, self.starts, self.stops = examples[order], starts[order], stops[order]
        rows = min(1 << (len(hashes) * _FILTER_ROWS - 1).bit_length(), _MOST_FILTER_ROWS)
        self._mask = np.uint64(rows - 1)
        self._filter = np.zeros(rows, bool)
        self._filter[self.hashes & self._mask] = True

    def find(self, hashes: Hashes) -> tuple[npt.NDArray, npt.NDArray]:
        """The places in `hashes` of those that are here, and their rows; a place for each of several."""
        places = np.flatnonzero(self._filter[hashes & self._mask])
        if not len(places):
            return places, places
        first = np.searchsorted(self.hashes, hashes[places], "left")
        counts = np.searchsorted(self.hashes, hashes[places], "right") - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(places, counts), np.repeat(first, counts) + within


def _runs(text: str, words: Hashes, size: int, example: int) -> tuple[npt.NDArray, ...]:
    """Hashes, example, first and last but one character of each run of `size` words."""
    hashes = hash_ngrams(words, size)
    spans = np.array([match.span() for match in word_pattern(text).finditer(text)], np.uint32)
    return (hashes, np.full(len(hashes), example, np.uint32), spans[: len(hashes), 0], spans[size - 1 :, 1])
