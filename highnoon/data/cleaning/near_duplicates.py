"""Drops near duplicates (extra `clean`)."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
from typing import Any

from highnoon.config import require_count
from highnoon.data.cleaning.step import Judge, Step, Verdict, require_fractions
from highnoon.data.cleaning.word_ngrams import hash_ngrams, hash_words, split_words
from highnoon.data.document import DataError, Document

MAX_HASHES = 1024
"""Choosing the bands of the index takes time quadratic in the number of hashes."""
_SCHEME = "affine32"
# The library allocates tables of shingles by hashes: this many fit into the processor's cache.
_SHINGLES_AT_ONCE = 512


@dataclasses.dataclass(frozen=True)
class NearDuplicates(Step):
    """Drops texts that have most of their shingles in common with an earlier text that was kept.

    A shingle is a run of `shingle_words` casefolded words without punctuation. Each text gets a MinHash of
    its shingles. Texts in the same band of the index are compared by the estimated Jaccard similarity, whose
    standard error is at most `0.5 / sqrt(num_hashes)`, 0.044 by default. The result is an estimate, but it is
    the same on each reading, and the first of similar texts is kept.

    Memory grows with the kept documents, by about 4 KB each with the default of 128 hashes.

    Args:
        threshold: Minimum similarity of a duplicate, in (0, 1]; 0.8 means that four of five shingles that are
            in either text are in both.
        shingle_words: Words of a shingle, at least 1; a shorter text is one shingle.
        num_hashes: Size of a MinHash, 16 to 1,024.
        seed: Seed of the hash functions.

    Raises:
        ImportError: If the extra `clean` is not installed.
        DataError: If an argument is out of range.

    Broder (1997), "On the resemblance and containment of documents", with the bands of Leskovec, Rajaraman,
    Ullman, "Mining of Massive Datasets", chapter 3.

    Example:

    ```python
    judge = NearDuplicates(0.7, shingle_words=2).start()
    story = "A fox met nine crows by the river and told all of them what he had seen at dawn"
    assert judge(Document(story)) is None
    assert judge(Document(story + ".. today")) == "near duplicate"
    ```
    """

    reason = "near duplicate"

    threshold: float = 0.8
    shingle_words: int = 5
    num_hashes: int = 128
    seed: int = 42

    def __post_init__(self) -> None:
        require_fractions({"threshold": self.threshold})
        if not self.threshold:
            raise DataError("`threshold` must be above 0, or every text would be a duplicate; received 0")
        require_count("shingle_words", self.shingle_words, least=1, error=DataError)
        require_count("num_hashes", self.num_hashes, least=16, most=MAX_HASHES, error=DataError)
        require_count("seed", self.seed, least=0, most=2**32 - 1, error=DataError)
        _datasketch()

    def start(self) -> Judge:
        library = _datasketch()
        index = library.MinHashLSH(self.threshold, self.num_hashes)
        blank = library.MinHash(self.num_hashes, self.seed, hashfunc=int, scheme=_SCHEME)
        signatures: list[Any] = []

        def judge(document: Document) -> Verdict:
            signature = blank.copy()
            shingles = self._shingles(document.text)
            for start in range(0, len(shingles), _SHINGLES_AT_ONCE):
                signature.update_batch(shingles[start : start + _SHINGLES_AT_ONCE])
            near = (signatures[other] for other in index.query(signature))
            if any(signature.jaccard(other) >= self.threshold for other in near):
                return self.reason
            index.insert(len(signatures), signature)
            signatures.append(signature)
            return None

        return judge

    def options(self) -> dict[str, Any]:
        return {**super().options(), "datasketch": importlib.metadata.version("datasketch")}

    def _shingles(self, text: str) -> list[int]:
        """Returns the shingles as 32-bit hashes."""
        words = hash_words(split_words(text))
        hashes = hash_ngrams(words, min(self.shingle_words, max(len(words), 1)))
        return (hashes >> 32).tolist()


def _datasketch() -> Any:
    try:
        return importlib.import_module("datasketch")
    except ImportError:
        raise ImportError("the step `NearDuplicates` needs datasketch: pip install highnoon[clean]") from None
