"""A tokenizer whose tokens are the bytes of UTF-8."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from highnoon.tokenization.byte_pair.byte_alphabet import definition
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

_SPECIAL_BYTES = tuple(name.encode() for name in SPECIAL_TOKENS)
_SPECIAL_IDS = {name: token_id for token_id, name in enumerate(SPECIAL_TOKENS)}


class ByteTokenizer(Tokenizer):
    """One token per byte: id = byte + 7, after the seven special ids.

    Any text and any bytes round-trip. Its ids are those of an untrained `BytePairTokenizer`, so both
    have one fingerprint.

    Example:

    ```python
    from highnoon.tokenization import ByteTokenizer
    tokenizer = ByteTokenizer()
    assert tokenizer.vocab_size == 263
    assert tokenizer.encode("A") == [2, 65 + 7, 3]
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(b"\\xff\\x00")) == b"\\xff\\x00"
    ```
    """

    pad_token_id = PAD_ID
    unk_token_id = UNK_ID
    bos_token_id = BOS_ID
    eos_token_id = EOS_ID

    @property
    def vocab_size(self) -> int:
        return SMALLEST_VOCAB_SIZE

    @property
    def special_ids(self) -> frozenset[int]:
        return frozenset(range(FIRST_BYTE_ID))

    @property
    def ids_of_special_tokens(self) -> Mapping[str, int]:
        return _SPECIAL_IDS

    def to_json(self) -> str:
        return json.dumps(definition([]), ensure_ascii=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ByteTokenizer:
        """Returns the tokenizer, after checking that `path` contains the definition of this one.

        Raises:
            TokenizerError: `path` contains no tokenizer or another one.
        """
        tokenizer, file = cls(), tokenizer_file(path)
        if not file.is_file():
            raise TokenizerError(f"no tokenizer at {file}; give a folder that `save` wrote")
        if read_definition(file) != json.loads(tokenizer.to_json()):
            raise TokenizerError(f"{file} is not a byte tokenizer; use `load_tokenizer` to load any kind")
        return tokenizer

    def encode_bytes(self, data: bytes) -> list[int]:
        """Returns the unframed ids of any bytes, whether or not they are UTF-8."""
        return (np.frombuffer(data, np.uint8).astype(np.int32) + FIRST_BYTE_ID).tolist()

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Returns the bytes that `ids` stand for, special ids left out."""
        values = np.array(self._require_ids(ids), np.int32)
        return (values[values >= FIRST_BYTE_ID] - FIRST_BYTE_ID).astype(np.uint8).tobytes()

    def encode_packed(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        pieces = [text.encode() for text in require_list(texts)]
        counts = np.fromiter(map(len, pieces), np.int64, len(pieces))
        return np.frombuffer(b"".join(pieces), np.uint8).astype(np.int32) + FIRST_BYTE_ID, counts

    def _encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode_bytes(text.encode()) for text in texts]

    def _decode_ids(self, ids: list[int]) -> str:
        pieces = (_SPECIAL_BYTES[i] if i < FIRST_BYTE_ID else bytes((i - FIRST_BYTE_ID,)) for i in ids)
        return b"".join(pieces).decode("utf-8", errors="replace")
