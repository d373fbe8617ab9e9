"""The trainable tokenizer: byte-level BPE on Hugging Face `tokenizers`."""

from __future__ import annotations

import functools
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.config import require_count
from highnoon.files.expand_home import expand_home
from highnoon.tokenization.byte_pair.byte_alphabet import BYTE_NAMES, definition, token_to_bytes
from highnoon.tokenization.byte_pair.rank_encoder import RankEncoder
from highnoon.tokenization.chat.begin_template import begin_template
from highnoon.tokenization.read_definition import read_definition
from highnoon.tokenization.special_tokens import (
    BOS_ID,
    EOS_ID,
    FIRST_BYTE_ID,
    PAD_ID,
    SMALLEST_VOCAB_SIZE,
    SPECIAL_TOKENS,
    UNK_ID,
)
from highnoon.tokenization.tokenizer import Tokenizer, TokenizerError, require_list, tokenizer_file

_NOT_UTF8 = re.compile("([\udc80-\udcff]+)")
_PIECE_CHARACTERS = 1 << 20
LARGEST_VOCAB_SIZE = 10_000_000

# Fewer characters are encoded by `tokenizers`, which is sooner ready.
_FEW_CHARACTERS = 4096

# Made from the merges when they are needed.
_REMADE = ("_engine", "_rank_encoder")


class BytePairTokenizer(Tokenizer):
    """Byte-level byte-pair encoding: any text, and any bytes, round-trip exactly.

    Special ids are PAD 0, UNK 1, BOS 2, EOS 3, SEP 4, CLS 5, MASK 6; then come the 256 bytes in
    their order, then the merged tokens. There is no normalization and no unknown text. Untrained,
    every token is one byte.

    Args:
        vocab_size: Most ids, special ids included, of a trained tokenizer; at least 263. The
            attribute of the same name is the actual number.
        model_path: A folder or `tokenizer.json` that `save` wrote; None starts untrained.

    Raises:
        TokenizerError: `vocab_size` is below 263, or `model_path` contains no HighNoon tokenizer.

    Example:

    ```python
    from highnoon.tokenization import BytePairTokenizer
    tokenizer = BytePairTokenizer().train_from_texts(["low lower lowest"] * 9, vocab_size=270)
    assert tokenizer.decode(tokenizer.encode("lowest, naïve")) == "lowest, naïve"
    assert len(tokenizer.encode("low")) < len(tokenizer.encode("xyz"))
    ```

    Sennrich, Haddow, Birch (2016), "Neural Machine Translation of Rare Words with Subword Units",
    on bytes instead of characters.
    """

    pad_token_id = PAD_ID
    unk_token_id = UNK_ID
    bos_token_id = BOS_ID
    eos_token_id = EOS_ID

    def __init__(self, vocab_size: int = 32000, model_path: str | os.PathLike[str] | None = None) -> None:
        self._target_vocab_size = _require_vocab_size(vocab_size)
        merges, chat_marks = ([], []) if model_path is None else _read_merges(tokenizer_file(model_path))
        self._set_merges(merges, chat_marks)

    def _set_merges(self, merges: Sequence[tuple[str, str]], chat_marks: Sequence[str] = ()) -> None:
        self._definition = definition(merges, chat_marks)
        vocab: dict[str, int] = self._definition["model"]["vocab"]
        self._bytes_of_id = [
            token.encode() if token_id < FIRST_BYTE_ID else token_to_bytes(token)
            for token, token_id in vocab.items()
        ]
        self._first_mark_id = len(self._bytes_of_id)
        self._bytes_of_id += [mark.encode() for mark in chat_marks]
        for name in _REMADE:
            self.__dict__.pop(name, None)

    @functools.cached_property
    def _engine(self) -> Any:
        import tokenizers

        engine = tokenizers.Tokenizer.from_str(self.to_json())
        # The text "<|eos|>" in a document is seven characters, not the end of the document.
        engine.encode_special_tokens = True
        return engine

    @functools.cached_property
    def _rank_encoder(self) -> RankEncoder:
        return RankEncoder(self._definition)

    def _encode_with_engine(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._engine.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _REMADE}

    @property
    def vocab_size(self) -> int:
        return len(self._bytes_of_id)

    @property
    def num_merges(self) -> int:
        """Number of merges that were trained; 0 for a tokenizer of bytes."""
        return len(self._definition["model"]["merges"])

    @property
    def special_ids(self) -> frozenset[int]:
        return frozenset((*range(FIRST_BYTE_ID), *range(self._first_mark_id, len(self._bytes_of_id))))

    @property
    def ids_of_special_tokens(self) -> Mapping[str, int]:
        return {token["content"]: token["id"] for token in self._definition["added_tokens"]}

    def to_json(self) -> str:
        return json.dumps(self._definition, ensure_ascii=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BytePairTokenizer:
        """Returns the tokenizer that `save` wrote to a folder or a `tokenizer.json`.

        Raises:
            TokenizerError: `path` contains no HighNoon tokenizer.
        """
        return cls(model_path=path)

    def train(
        self,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        vocab_size: int | None = None,
        min_frequency: int = 2,
    ) -> BytePairTokenizer:
        """Learns the merges from UTF-8 text files, replacing those it had; returns itself."""
        paths = [expand_home(file) for file in ([files] if isinstance(files, (str, os.PathLike)) else files)]
        return self.train_from_texts(_read_pieces(paths), vocab_size, min_frequency)

    def train_from_texts(
        self,
        texts: Iterable[str],
        vocab_size: int | None = None,
        min_frequency: int = 2,
        chat_marks: Sequence[str] = (),
    ) -> BytePairTokenizer:
        """Learns the merges from texts, replacing those it had; returns itself.

        The same texts, in any order, give the same tokenizer.

        Args:
            texts: Read once, without keeping them in memory.
            vocab_size: Most ids, special ids included; None takes the constructor's. Text with
                fewer pairs worth merging gives fewer.
            min_frequency: Occurrences that a pair needs to be merged; at least 1.
            chat_marks: Names of further special tokens, such as `<|im_end|>`; they get the last ids.

        Raises:
            TokenizerError: `vocab_size` is below 263 plus the number of marks, `min_frequency` is below 1, a
                mark is empty or exists already, or there is no text.
        """
        size = _require_vocab_size(self._target_vocab_size if vocab_size is None else vocab_size)
        if min_frequency < 1:
            raise TokenizerError(f"`min_frequency` must be at least 1; received {min_frequency}")
        marks = _require_marks(chat_marks)
        if size < SMALLEST_VOCAB_SIZE + len(marks):
            raise TokenizerError(
                f"`vocab_size` must be at least {SMALLEST_VOCAB_SIZE + len(marks)} for "
                f"{len(marks)} chat marks; received {size}"
            )
        self._set_merges(_learn_merges(require_list(texts), size - len(marks), min_frequency), marks)
        self._target_vocab_size = size
        return self

    def encode_bytes(self, data: bytes) -> list[int]:
        """Returns the unframed ids of any bytes: UTF-8 is merged, every other byte is a token."""
        ids: list[int] = []
        for index, piece in enumerate(_NOT_UTF8.split(data.decode("utf-8", errors="surrogateescape"))):
            if index % 2:
                ids.extend(byte + FIRST_BYTE_ID for byte in piece.encode("utf-8", errors="surrogateescape"))
            elif piece:
                ids.extend(self._encode_texts([piece])[0])
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Returns the bytes of `ids`, without special ids."""
        return b"".join(
            self._bytes_of_id[i] for i in self._require_ids(ids) if FIRST_BYTE_ID <= i < self._first_mark_id
        )

    def encode_packed(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        texts = [_require_unicode(text) for text in require_list(texts)]
        encoder = self._rank_encoder
        if not (encoder.is_equal and all(map(encoder.takes, texts))):
            return _packed(self._encode_with_engine(texts))
        ids, counts = _packed(encoder.encode(texts))
        return ids + np.int32(FIRST_BYTE_ID), counts

    def _encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        if sum(map(len, texts)) < _FEW_CHARACTERS:
            return self._encode_with_engine(texts)
        ids, counts = self.encode_packed(texts)
        return [row.tolist() for row in np.split(ids, np.cumsum(counts)[:-1])]

    def _decode_ids(self, ids: list[int]) -> str:
        return b"".join(map(self._bytes_of_id.__getitem__, ids)).decode("utf-8", errors="replace")


def _packed(rows: list[list[int]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    counts = np.fromiter(map(len, rows), np.int64, len(rows))
    return np.fromiter(itertools.chain.from_iterable(rows), np.int32, int(counts.sum())), counts


def _require_unicode(text: str) -> str:
    if not text.isascii():
        text.encode()  # raises UnicodeEncodeError, where `tiktoken` would replace a lone surrogate
    return text


def is_highnoon_definition(values: Any) -> bool:
    """Returns whether a HighNoon tokenizer wrote a parsed `tokenizer.json`."""
    merges = _merges_of(values)
    return merges is not None and _is_definition(values, merges)


def _is_definition(values: dict[str, Any], merges: Sequence[tuple[str, str]]) -> bool:
    """Whether `values` is the definition of the vocabulary, or its export."""
    exported = begin_template(SPECIAL_TOKENS[BOS_ID], BOS_ID)
    if values.get("post_processor") == exported:
        values = {**values, "post_processor": None}
    return values == definition(merges, _marks_of(values))


def _marks_of(values: Any) -> list[str]:
    """Returns the names of the special tokens after the seven, if they are as `definition` writes them."""
    tokens = values.get("added_tokens")
    further = tokens[len(SPECIAL_TOKENS) :] if isinstance(tokens, list) else []
    names = [token.get("content") if isinstance(token, dict) else None for token in further]
    return [name for name in names if isinstance(name, str) and name.isprintable()]


def _merges_of(values: Any) -> list[tuple[str, str]] | None:
    model = values.get("model") if isinstance(values, dict) else None
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(merges, list):
        return None
    known = set(BYTE_NAMES)
    for pair in merges:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            return None
        if not known.issuperset(pair):  # a token that is neither a byte nor the result of an earlier merge
            return None
        known.add(pair[0] + pair[1])
    return [(left, right) for left, right in merges]


def _read_merges(file: pathlib.Path) -> tuple[list[tuple[str, str]], list[str]]:
    if not file.is_file():
        raise TokenizerError(f"no tokenizer at {file}; give a folder or `tokenizer.json` that `save` wrote")
    values = read_definition(file)
    merges = _merges_of(values)
    if merges is None or not _is_definition(values, merges):
        raise TokenizerError(f"{file} is not a HighNoon tokenizer; use `load_tokenizer` to load any kind")
    return merges, _marks_of(values)


def _require_marks(names: Sequence[str]) -> list[str]:
    taken = set(SPECIAL_TOKENS)
    for name in names:
        if not isinstance(name, str) or not name or name in taken:
            raise TokenizerError(
                f"`chat_marks` must be names of new special tokens, each once; received {name!r}"
            )
        taken.add(name)
    return list(names)


def _require_vocab_size(vocab_size: int) -> int:
    if vocab_size < SMALLEST_VOCAB_SIZE:
        raise TokenizerError(
            f"`vocab_size` must be at least {SMALLEST_VOCAB_SIZE} ({len(SPECIAL_TOKENS)} special ids and "
            f"256 bytes); received {vocab_size}"
        )
    # The trainer allocates memory for this many.
    return require_count("vocab_size", vocab_size, most=LARGEST_VOCAB_SIZE, error=TokenizerError)


def _learn_merges(texts: Iterable[str], vocab_size: int, min_frequency: int) -> list[tuple[str, str]]:
    from tokenizers import Tokenizer as Engine
    from tokenizers import models, pre_tokenizers, trainers

    seen = 0

    def counted() -> Iterator[str]:
        nonlocal seen
        for text in texts:
            seen += len(text)
            yield text

    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    engine.train_from_iterator(
        counted(),
        trainers.BpeTrainer(
            vocab_size=vocab_size - FIRST_BYTE_ID,
            min_frequency=min_frequency,
            show_progress=False,
            initial_alphabet=list(BYTE_NAMES),
        ),
    )
    if not seen:
        raise TokenizerError("training needs some text; received none")
    return [(left, right) for left, right in json.loads(engine.to_str())["model"]["merges"]]


def _read_pieces(paths: Sequence[str | os.PathLike[str]]) -> Iterator[str]:
    """Yields the lines of the files, joined to pieces of about a million characters."""
    for path in paths:
        try:
            with open(path, encoding="utf-8", newline="") as stream:
                while lines := stream.readlines(_PIECE_CHARACTERS):
                    yield "".join(lines)
        except UnicodeDecodeError as error:
            raise TokenizerError(f"{os.fspath(path)} is not UTF-8 text: {error.reason}") from None
        except OSError as error:
            raise TokenizerError(f"cannot read {os.fspath(path)}: {error.strerror}") from None
