"""An index of the word n-grams of some texts, to find them in other texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from highnoon.config import require_count
from highnoon.data.cleaning.word_ngrams import Hashes, hash_ngrams, hash_words, split_words, word_pattern
from highnoon.data.document import DataError, Document

# A shorter example counts only if it equals a complete text.
SHORTEST_SOUGHT_WORDS = 8
# Slots of the filter per n-gram, or up to twice as many: at most one in eight other n-grams passes it, and is
# then looked up.
_FILTER_SLOTS = 8
_MOST_FILTER_SLOTS = 1 << 28


@dataclasses.dataclass(frozen=True)
class Overlap:
    """An n-gram that a text and an example have in common.

    Args:
        example: Index of the example.
        example_span: Start and stop of the n-gram in the example, in characters.
        word: Index of the first word of the n-gram in the text.
        num_words: Words of the n-gram.
    """

    example: int
    example_span: tuple[int, int]
    word: int
    num_words: int


class BenchmarkIndex:
    """All n-grams of `n` words of some examples, as sorted 64-bit hashes.

    An n-gram takes 20 bytes and 8 to 16 more in a filter; twice that while the index is built. Hashes are not
    verified: a search for a trillion n-grams in a benchmark of ten million finds a false match in about one
    of two cases.

    Args:
        name: The name of the examples in reports.
        examples: The examples, read once.
        n: Words of an n-gram, at least 2. An example of fewer words is one n-gram of its own length.

    Raises:
        DataError: If `n` is out of range.
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
            parts.setdefault(size, []).append(_ngrams(document.text, words, size, len(self.labels)))
            self.labels.append((document.source, document.id))
        self._ngrams = {
            size: _Ngrams(*map(np.concatenate, zip(*parts.pop(size), strict=True))) for size in sorted(parts)
        }

    def __len__(self) -> int:
        return len(self.labels)

    def require_words(self) -> BenchmarkIndex:
        """Returns the index itself.

        Raises:
            DataError: If no example has a word.
        """
        if not self.labels:
            raise DataError(f"{self.name} has no words to search for; use a source with text")
        return self

    def holds(self, text: str) -> bool:
        """Returns whether the text has an n-gram in common with any example."""
        return bool(self.find(text))

    def find(self, text: str) -> list[Overlap]:
        """Returns the first common n-gram for each example that has one in common with the text."""
        return self.find_hashed(hash_words(split_words(text)))

    def find_hashed(self, words: Hashes) -> list[Overlap]:
        """Does the same as `find`, from the hashes of a text's words."""
        found: dict[int, Overlap] = {}
        for size, ngrams in self._ngrams.items():
            if size < SHORTEST_SOUGHT_WORDS and size < self.n and size != len(words):
                continue
            positions, entries = ngrams.find(hash_ngrams(words, size))
            for position, entry in zip(positions.tolist(), entries.tolist(), strict=True):
                example = int(ngrams.examples[entry])
                span = (int(ngrams.starts[entry]), int(ngrams.stops[entry]))
                found.setdefault(example, Overlap(example, span, position, size))
        return list(found.values())


class _Ngrams:
    """N-grams of one length: their sorted hashes, with the example and the characters of each."""

    def __init__(
        self, hashes: Hashes, examples: npt.NDArray, starts: npt.NDArray, stops: npt.NDArray
    ) -> None:
        order = np.argsort(hashes, kind="stable")
        self.hashes = hashes[order]
        self.examples, self.starts, self.stops = examples[order], starts[order], stops[order]
        slots = min(1 << (len(hashes) * _FILTER_SLOTS - 1).bit_length(), _MOST_FILTER_SLOTS)
        self._mask = np.uint64(slots - 1)
        self._filter = np.zeros(slots, bool)
        self._filter[self.hashes & self._mask] = True

    def find(self, hashes: Hashes) -> tuple[npt.NDArray, npt.NDArray]:
        """Returns the positions in `hashes` of known n-grams, and their entries; repeated for several."""
        positions = np.flatnonzero(self._filter[hashes & self._mask])
        if not len(positions):
            return positions, positions
        first = np.searchsorted(self.hashes, hashes[positions], "left")
        counts = np.searchsorted(self.hashes, hashes[positions], "right") - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(positions, counts), np.repeat(first, counts) + within


def _ngrams(text: str, words: Hashes, size: int, example: int) -> tuple[npt.NDArray, ...]:
    """Returns the hash, example, start and stop of each n-gram of `size` words."""
    hashes = hash_ngrams(words, size)
    spans = np.array([match.span() for match in word_pattern(text).finditer(text)], np.uint32)
    return (hashes, np.full(len(hashes), example, np.uint32), spans[: len(hashes), 0], spans[size - 1 :, 1])
