"""Encoding text word by word with a memory of the words seen, many times faster than anew."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from highnoon.tokenization.byte_pair.word_cuts import TEXT_END, cut_words
from highnoon.tokenization.byte_pair.word_merges import WordMerges
from highnoon.tokenization.byte_pair.word_table import LONGEST_WORD_BYTES, Numbers, WordTable, word_keys

Ids = npt.NDArray[np.int32]

# Work is done in blocks whose arrays stay in the processor's cache. The table has slots for twice the most
# words, so that one more block always fits.
_BLOCK_BYTES = 1 << 18
_SLOT_BITS = 20
_MOST_WORDS = 1 << 19
_MOST_LONG_BYTES = 1 << 25

# Longer text that cannot be cut is encoded whole. The different words of one block and such a part always
# fit beside the most words, for most of them have three bytes and more.
_LONGEST_PART_BYTES = 2 * _BLOCK_BYTES

# Text may be cut here for certain, its ids are those of its parts: before a blank, and between letter and
# digit, which no word holds side by side.
_SURE_CUT = re.compile(rb"[!-~](?=[\t-\r ])|[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])")
_END = bytes((TEXT_END,))


class WordCache:
    """Encodes texts by their words; equal to encoding them whole under the `ByteLevel` pre-tokenizer.

    Words of up to 15 bytes are looked up in a table, longer ones in a dictionary. Threads take turns.

    Args:
        encode: Returns the ids of each of some texts.
        merges: Gives the ids of short words, by far the most.
    """

    def __init__(self, encode: Callable[[Sequence[str]], list[list[int]]], merges: WordMerges) -> None:
        self._encode = encode
        self._merges = merges
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._table = WordTable(_SLOT_BITS)
        self._long: dict[bytes, int] = {}
        self._long_bytes = 0
        # Number 0 is the end of a text, which has no ids.
        self._num_words, self._num_ids = 1, 0
        self._ids = np.zeros(_MOST_WORDS, np.int32)
        self._begins = np.zeros(2 * _MOST_WORDS, np.int64)
        self._counts = np.zeros(2 * _MOST_WORDS, np.int64)

    def __call__(self, texts: Sequence[str]) -> tuple[Ids, Numbers]:
        """Returns the ids of all texts, one after another, and how many each has."""
        parts: list[Ids] = []
        counts = np.zeros(len(texts), np.int64)
        with self._lock:
            for block, owners in _blocks([text.encode() for text in texts]):
                if len(block[0]) > _LONGEST_PART_BYTES:
                    ids, counts_of_block = self._encode_whole(block)
                else:
                    ids, counts_of_block = self._encode_block(block)
                parts.append(ids)
                np.add.at(counts, owners, counts_of_block)
        return (np.concatenate(parts) if parts else np.zeros(0, np.int32)), counts

    def _encode_whole(self, texts: Sequence[bytes]) -> tuple[Ids, Numbers]:
        rows = self._encode([text.decode() for text in texts])
        return np.concatenate([np.array(row, np.int32) for row in rows]), np.array([len(row) for row in rows])

    def _encode_block(self, texts: Sequence[bytes]) -> tuple[Ids, Numbers]:
        if self._num_words > _MOST_WORDS or self._long_bytes > _MOST_LONG_BYTES:
            self._forget()
        data = b"".join((_END, _END.join(texts), _END))
        begins, is_word = cut_words(data)
        lengths = np.diff(begins, append=len(data))
        is_end = np.frombuffer(data, np.uint8)[begins] == TEXT_END
        numbers = np.zeros(len(begins), np.int64)
        is_short = lengths <= LONGEST_WORD_BYTES
        short, long = np.flatnonzero(is_short & ~is_end), np.flatnonzero(~is_short)
        numbers[short] = self._number_short(data, begins[short], lengths[short], is_word[short])
        stops = (begins[long] + lengths[long]).tolist()
        numbers[long] = self._number_long(
            [data[begin:stop] for begin, stop in zip(begins[long].tolist(), stops, strict=True)]
        )
        return self._gather(numbers, is_end)

    def _gather(self, numbers: Numbers, is_end: npt.NDArray[np.bool_]) -> tuple[Ids, Numbers]:
        counts = self._counts[numbers]
        stops = np.cumsum(counts)
        places = np.repeat(self._begins[numbers] - (stops - counts), counts)
        places += np.arange(len(places))
        return self._ids[places], np.diff(stops[is_end])

    def _number_short(
        self, data: bytes, begins: Numbers, lengths: Numbers, is_word: npt.NDArray[np.bool_]
    ) -> Numbers:
        first, second = word_keys(data, begins, lengths)
        numbers = self._table.find(first, second)
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            order = missing[np.lexsort((first[missing], second[missing]))]
            is_new = np.ones(len(order), np.bool_)
            is_new[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
            chosen = order[is_new]
            new = self._learn_short(data, begins[chosen], lengths[chosen], is_word[chosen])
            self._table.add(first[chosen], second[chosen], new)
            numbers[order] = new[np.cumsum(is_new) - 1]
        return numbers

    def _learn_short(
        self, data: bytes, begins: Numbers, lengths: Numbers, is_word: npt.NDArray[np.bool_]
    ) -> Numbers:
        numbers = np.zeros(len(begins), np.int64)
        plain, other = np.flatnonzero(is_word), np.flatnonzero(~is_word)
        numbers[plain] = self._keep(*self._merges(data, begins[plain], lengths[plain]))
        stops = (begins[other] + lengths[other]).tolist()
        numbers[other] = self._learn(
            [data[begin:stop] for begin, stop in zip(begins[other].tolist(), stops, strict=True)]
        )
        return numbers

    def _number_long(self, words: list[bytes]) -> list[int]:
        known = self._long
        missing = list(dict.fromkeys(word for word in words if word not in known))
        if missing:
            known.update(zip(missing, self._learn(missing).tolist(), strict=True))
            self._long_bytes += sum(map(len, missing))
        return [known[word] for word in words]

    def _learn(self, words: list[bytes]) -> Numbers:
        """Encodes new words and returns their numbers."""
        rows = self._encode([word.decode() for word in words])
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        return self._keep(np.fromiter(chain.from_iterable(rows), np.int32, int(counts.sum())), counts)

    def _keep(self, flat: Ids, counts: Numbers) -> Numbers:
        """Takes in the ids of new words and returns their numbers."""
        if self._num_ids + len(flat) > len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros(max(len(self._ids), len(flat)), np.int32)])
        numbers = np.arange(self._num_words, self._num_words + len(counts))
        self._counts[numbers] = counts
        self._begins[numbers] = self._num_ids + np.cumsum(counts) - counts
        self._ids[self._num_ids : self._num_ids + len(flat)] = flat
        self._num_words += len(counts)
        self._num_ids += len(flat)
        return numbers


def _blocks(texts: Sequence[bytes]) -> Iterator[tuple[list[bytes], list[int]]]:
    """Texts, and parts of those that are long, in blocks; with the text that each is part of.

    A part that is to be encoded whole is a block of its own.
    """
    held: list[bytes] = []
    owners: list[int] = []
    size = 0
    for owner, text in enumerate(texts):
        for part in [text] if len(text) <= _BLOCK_BYTES else _parts(text):
            if len(part) > _LONGEST_PART_BYTES and held:
                yield held, owners
                held, owners, size = [], [], 0
            held.append(part)
            owners.append(owner)
            size += len(part)
            if size >= _BLOCK_BYTES:
                yield held, owners
                held, owners, size = [], [], 0
    if held:
        yield held, owners


def _parts(text: bytes) -> Iterator[bytes]:
    begin = 0
    while cut := _SURE_CUT.search(text, begin + _BLOCK_BYTES):
        yield text[begin : cut.end()]
        begin = cut.end()
    yield text[begin:]
