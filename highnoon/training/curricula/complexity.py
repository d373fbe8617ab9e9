"""The complexity of samples: their size, their difficulty, or both."""

from __future__ import annotations

import array
import math
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from highnoon.config import shown

TEXT_STRATEGIES = ("size_based", "difficulty_based", "mixed")
STRATEGIES = (*TEXT_STRATEGIES, "reference_loss")
DIFFICULTY_WEIGHTS = {"length": 0.3, "vocabulary": 0.2, "syntax": 0.2, "domain": 0.3}

_CORE_FRACTION = 0.8
_NUM_BUCKETS = 1 << 20
_WORDS_IN_MEMORY = 1 << 21
# A word is a sequence of word characters; an ideograph or a kana is a word by itself.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\w+")
_SENTENCE_END = re.compile(r"[.!?\u3002]+(?=[\s\"')\]]|$)|\n\s*\n")
_INNER_MARK = re.compile(r"[,;:()\[\]{}\u2013\u2014]")
_BRACKET = re.compile(r"[()\[\]{}]")


def check_strategy(strategy: str) -> str:
    """Returns `strategy` if it is one of `STRATEGIES`.

    Raises:
        ValueError: Any other name. `weight_based`, which sorted molecules by mass and has no meaning for
            text, has a message of its own.
    """
    if strategy == "weight_based":
        raise ValueError(
            "`strategy='weight_based'` sorts molecules by mass and has no meaning for text; "
            "use 'size_based', or `weight=` of a curriculum stage to weigh its loss"
        )
    if strategy not in STRATEGIES:
        raise ValueError(f"`strategy` must be one of {', '.join(STRATEGIES)}; received {shown(strategy)}")
    return strategy


def complexity_scores(
    samples: Sequence[Any], strategy: str = "size_based", reference_model: Any = None
) -> np.ndarray:
    """Scores samples; more complex samples have higher scores.

    ```
    size_based        size            number of characters, or of token ids
    difficulty_based  0.3 length + 0.2 vocabulary + 0.2 syntax + 0.3 domain, see `difficulty_factors`
    mixed             (rank(size) + rank(difficulty)) / 2
    reference_loss    nats per token under `reference_model`, see `reference_losses`
    ```

    Ranks are scaled to [0, 1], and equal values have their mean rank, so scores depend on the samples alone.
    `samples` is iterated once and not kept in memory.

    Args:
        samples: Texts, sequences of token ids, mappings with a `text`, or objects with a `.text`: either all
            texts or all ids.
        strategy: `"size_based"`, `"difficulty_based"`, `"mixed"` or `"reference_loss"`.
        reference_model: For `"reference_loss"`: a language model with a tokenizer, or its path.

    Returns:
        float64 of shape (samples,).

    Raises:
        ValueError: The strategy is unknown, or `"reference_loss"` has no model.
        TypeError: A sample has another type, or texts and ids are mixed.

    Example:

    ```python
    scores = complexity_scores(["A cat.", "A cat sat on a mat."])
    assert scores[1] > scores[0]
    ```
    """
    check_strategy(strategy)
    if strategy == "size_based":
        return np.fromiter((len(content) for content in contents(samples)), np.float64)
    if strategy == "reference_loss":
        return _reference_losses(samples, reference_model)
    factors = difficulty_factors(samples)
    difficulty = sum(weight * unit_ranks(factors[name]) for name, weight in DIFFICULTY_WEIGHTS.items())
    if strategy == "difficulty_based":
        return np.asarray(difficulty)
    return (unit_ranks(factors["length"]) + unit_ranks(np.asarray(difficulty))) / 2


def _reference_losses(samples: Sequence[Any], reference_model: Any) -> np.ndarray:
    if reference_model is None:
        raise ValueError(
            "`strategy='reference_loss'` needs `reference_model=`: a language model with a tokenizer, or "
            "the path of a saved one; train a small one on the same text first"
        )
    from highnoon.training.curricula.reference_loss import reference_losses

    return reference_losses(contents(samples), reference_model)


def difficulty_factors(samples: Sequence[Any]) -> dict[str, np.ndarray]:
    """Measures the factors of difficulty, before ranking.

    ```
    length      log(1 + size)
    vocabulary  mean over the words of -log(count of the word / words in all samples)
    syntax      log(words / sentences) + inner marks / words + log(1 + deepest bracket)
    domain      fraction of the words outside the core vocabulary
    ```

    Inner marks are commas, semicolons, colons, dashes and brackets. The core vocabulary consists of the words
    that occur in most samples, up to 80 percent of all (word, sample) pairs. A term that is frequent in few
    samples is thus not part of it. Words are lower-cased. Token ids count as words and have no sentences, so
    their `syntax` is 0.

    Words are hashed into 2^20 buckets, so memory does not grow with the vocabulary. More than two million
    words are kept in a temporary file.
    """
    sizes, syntax = array.array("q"), array.array("d")
    with tempfile.TemporaryFile() as spill:
        counts = _WordCounts(spill)
        buckets = _Buckets()
        for content in contents(samples):
            sizes.append(len(content))
            if isinstance(content, str):
                words = _WORD.findall(content.lower())
                syntax.append(_syntax(content, len(words)))
                counts.add(array.array("I", map(buckets.__getitem__, words)))
            else:
                syntax.append(0.0)
                counts.add(array.array("I", ((int(i) % _NUM_BUCKETS) for i in content)))
        vocabulary, domain = counts.rarity_and_distance()
    return {
        "length": np.log1p(np.asarray(sizes, np.float64)),
        "vocabulary": vocabulary,
        "syntax": np.asarray(syntax, np.float64),
        "domain": domain,
    }


def contents(samples: Iterable[Any]) -> Iterator[Any]:
    """Yields the text or the token ids of each sample.

    Raises:
        TypeError: A sample is neither, or is of another kind than the first; the message has its index.
    """
    if isinstance(samples, (str, bytes)):
        raise TypeError(f"`samples` must be a sequence of samples; received one {type(samples).__name__}")
    first_kind = None
    for index, sample in enumerate(samples):
        content = _content(sample)
        if content is None:
            raise TypeError(
                f"sample {index} must be a text, a sequence of token ids, or have a `text`; "
                f"received {type(sample).__name__}"
            )
        kind = "text" if isinstance(content, str) else "token ids"
        first_kind = first_kind or kind
        if kind != first_kind:
            raise TypeError(f"samples must be all texts or all token ids; sample {index} is {kind}")
        yield content


def unit_ranks(values: np.ndarray) -> np.ndarray:
    """Returns the ranks of `values` scaled to [0, 1]; equal values have their mean rank."""
    if len(values) < 2:
        return np.full(len(values), 0.5)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts + 1) / 2
    return mean_ranks[inverse] / (len(values) - 1)


def _content(sample: Any) -> Any:
    if isinstance(sample, Mapping):
        sample = sample.get("text")
    elif hasattr(sample, "text"):
        sample = sample.text
    if isinstance(sample, str):
        return sample
    is_ids = isinstance(sample, (list, tuple, range)) or getattr(sample, "ndim", None) == 1
    if not is_ids:
        return None
    first = next(iter(sample), 0)
    return sample if isinstance(first, (int, np.integer)) else None


def _syntax(text: str, num_words: int) -> float:
    if not num_words:
        return 0.0
    stripped = text.strip()
    num_sentences = sum(1 for match in _SENTENCE_END.finditer(stripped))
    # The text after the last end mark is a sentence too.
    num_sentences += not stripped.endswith((".", "!", "?", "\u3002"))
    marks = len(_INNER_MARK.findall(text)) / num_words
    words_per_sentence = num_words / max(1, num_sentences)
    return math.log(max(1.0, words_per_sentence)) + marks + math.log1p(_deepest_bracket(text))


def _deepest_bracket(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


class _Buckets(dict[str, int]):
    """Maps words to buckets; caches at most as many words as there are buckets."""

    def __missing__(self, word: str) -> int:
        bucket = zlib.crc32(word.encode("utf-8", "surrogatepass")) % _NUM_BUCKETS
        if len(self) < _NUM_BUCKETS:
            self[word] = bucket
        return bucket


class _WordCounts:
    """Counts the words of all samples, and keeps the words of each sample in order."""

    def __init__(self, spill: BinaryIO | Any):
        self._spill = spill
        self._pending = array.array("I")
        self._lengths = array.array("q")
        self._word_counts = np.zeros(_NUM_BUCKETS, np.int64)
        self._sample_counts = np.zeros(_NUM_BUCKETS, np.int64)

    def add(self, words: array.array[int]) -> None:
        self._lengths.append(len(words))
        self._sample_counts[np.unique(np.frombuffer(words, np.uint32))] += 1
        self._pending.extend(words)
        if len(self._pending) >= _WORDS_IN_MEMORY:
            self._flush()

    def rarity_and_distance(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns for each sample the mean rarity of its words and the fraction outside the core."""
        self._flush()
        rarity = np.log(max(1, int(self._word_counts.sum())) / np.maximum(self._word_counts, 1))
        outside = np.where(self._core(), 0.0, 1.0)
        return self._means(np.stack([rarity, outside]))

    def _flush(self) -> None:
        words = np.frombuffer(self._pending, np.uint32)
        self._word_counts += np.bincount(words, minlength=_NUM_BUCKETS)
        self._spill.write(words.tobytes())
        self._pending = array.array("I")

    def _core(self) -> np.ndarray:
        # Ties are broken by frequency, then by bucket, so the core is deterministic.
        order = np.lexsort((-self._word_counts, -self._sample_counts))
        before = np.cumsum(self._sample_counts[order]) - self._sample_counts[order]
        is_core = np.zeros(_NUM_BUCKETS, bool)
        is_core[order] = before < _CORE_FRACTION * self._sample_counts.sum()
        return is_core

    def _means(self, tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        means = np.zeros((2, len(self._lengths)))
        self._spill.seek(0)
        for first, last in self._groups():
            lengths = np.asarray(self._lengths[first:last])
            words = np.frombuffer(self._spill.read(4 * int(lengths.sum())), np.uint32)
            has_words = np.flatnonzero(lengths)
            if len(has_words):
                # One sum per sample: equal samples get bit-identical means.
                starts = (np.cumsum(lengths) - lengths)[has_words]
                sums = np.add.reduceat(tables[:, words], starts, axis=1)
                means[:, first + has_words] = sums / lengths[has_words]
        return means[0], means[1]

    def _groups(self) -> Iterator[tuple[int, int]]:
        """Yields ranges of samples whose words fit in memory."""
        first = held = 0
        for index, length in enumerate(self._lengths):
            held += length
            if held >= _WORDS_IN_MEMORY:
                yield first, index + 1
                first, held = index + 1, 0
        yield first, len(self._lengths)
