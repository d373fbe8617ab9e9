"""The interface of every tokenizer, and what all have in common: framing, padding, batches, files."""

from __future__ import annotations

import abc
import copy
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from highnoon.files.expand_home import expand_home
from highnoon.files.name_path import name_path
from highnoon.tokenization.chat.chat_template import ChatTemplate, is_jinja_installed
from highnoon.tokenization.chat.chat_template_file import chat_template_file, write_chat_template

TOKENIZER_FILE = "tokenizer.json"

Self = TypeVar("Self", bound="Tokenizer")


class TokenizerError(ValueError):
    """A tokenizer, text or list of ids that cannot be used."""


class Tokenizer(abc.ABC):
    """Converts text to ids and back.

    A document is framed as `[bos] text [eos]`. The name of a special token inside a user's text is
    plain text: only framing writes special ids.

    `chat_template` is the template of the conversations on which the tokenizer's model was trained, None if
    there were none. `save` and `load_tokenizer` store it.

    A subclass defines `vocab_size`, the four special ids, `to_json`, `special_ids` and the private
    `_encode_texts` and `_decode_ids`, and may define `ids_of_special_tokens`.
    """

    chat_template: ChatTemplate | None = None

    pad_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int | None
    unk_token_id: int | None

    is_exact: ClassVar[bool] = True
    """Whether decoding returns exactly the text that was encoded."""

    @property
    @abc.abstractmethod
    def vocab_size(self) -> int:
        """Number of ids, special ids included."""

    @property
    @abc.abstractmethod
    def special_ids(self) -> frozenset[int]:
        """Ids without text."""

    @property
    def ids_of_special_tokens(self) -> Mapping[str, int]:
        """The ids of special tokens by their names."""
        return {}

    @abc.abstractmethod
    def to_json(self) -> str:
        """Returns the complete definition as the text of a `tokenizer.json`."""

    @abc.abstractmethod
    def _encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text, unframed."""

    @abc.abstractmethod
    def _decode_ids(self, ids: list[int]) -> str:
        """Returns the text of `ids`, with special ids written out as their names."""

    def encode(
        self, text: str, add_special_tokens: bool = True, max_length: int | None = None, padding: bool = False
    ) -> list[int]:
        """Returns the ids of `text`.

        Args:
            text: Any text without lone surrogates.
            add_special_tokens: Frame the ids as `[bos] ids [eos]`.
            max_length: Most ids to return, the framing included; the text's end is cut.
            padding: Fill with the pad id up to `max_length`.

        Raises:
            TokenizerError: `text` is not encodable as UTF-8, `max_length` is too small for the
                framing, or `padding` is set without `max_length` or without a pad id.

        Example:

        ```python
        from highnoon.tokenization import ByteTokenizer
        assert ByteTokenizer().encode("hi", max_length=6, padding=True) == [2, 111, 112, 3, 0, 0]
        ```
        """
        if padding and max_length is None:
            raise TokenizerError("`padding` of one text needs `max_length`; received None")
        ids = self._frame(self._encode_texts([_require_text(text)])[0], add_special_tokens, max_length)
        return self._pad(ids, max_length) if padding and max_length is not None else ids

    def batch_encode(
        self,
        texts: Sequence[str],
        padding: bool = False,
        max_length: int | None = None,
        add_special_tokens: bool = True,
    ) -> list[list[int]]:
        """Returns the ids of each text; `padding` fills to `max_length`, or to the longest without one."""
        plain = self._encode_texts([_require_text(text) for text in require_list(texts)])
        rows = [self._frame(ids, add_special_tokens, max_length) for ids in plain]
        if not padding:
            return rows
        length = max_length or max(map(len, rows), default=0)
        return [self._pad(row, length) for row in rows]

    def encode_packed(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Returns the unframed ids of all texts, one after another, and how many each has.

        The fast path for corpora: avoids lists of Python numbers if the tokenizer can.
        """
        rows = self._encode_texts(require_list(texts))
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        ids = (token_id for row in rows for token_id in row)
        return np.fromiter(ids, np.int32, int(counts.sum())), counts

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns each text framed as a complete document."""
        head = [] if self.bos_token_id is None else [self.bos_token_id]
        tail = [] if self.eos_token_id is None else [self.eos_token_id]
        return [[*head, *ids, *tail] for ids in self._encode_texts(require_list(texts))]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Returns the text of `ids`; bytes that are not UTF-8 become U+FFFD.

        Raises:
            TokenizerError: an id is outside [0, vocab_size).
        """
        checked = self._require_ids(ids)
        if skip_special_tokens:
            checked = [token_id for token_id in checked if token_id not in self.special_ids]
        return self._decode_ids(checked)

    def decode_document(self, ids: Iterable[int]) -> str:
        """Returns the text of a framed document, with the names of special tokens within it."""
        return self._decode_ids(self.unframed(ids))

    def unframed(self, ids: Iterable[int]) -> list[int]:
        """Returns the ids of a document without the begin token before them and the end token after them.

        Raises:
            TokenizerError: an id is outside [0, vocab_size).
        """
        checked = self._require_ids(ids)
        begin = int(bool(checked) and checked[0] == self.bos_token_id)
        end = len(checked) - int(len(checked) > begin and checked[-1] == self.eos_token_id)
        return checked[begin:end]

    def with_chat_template(self: Self, template: ChatTemplate | None) -> Self:
        """Returns this tokenizer, or a copy of it that has another chat template."""
        if template == self.chat_template:
            return self
        other = copy.copy(self)
        other.chat_template = template
        return other

    def turn_ends(self) -> list[int | str]:
        """Returns what ends an answer besides the end token: an id, or a text that is no special token."""
        template = self.chat_template
        if template is None or (template.template is not None and not is_jinja_installed()):
            return []
        end = template.turn_end
        return [self.ids_of_special_tokens.get(end, end)] if end else []

    def batch_decode(self, batch: Iterable[Iterable[int]], skip_special_tokens: bool = True) -> list[str]:
        """Returns the text of each list of ids."""
        return [self.decode(ids, skip_special_tokens) for ids in batch]

    def fingerprint(self) -> str:
        """Returns a hex hash of the definition; equal hashes mean equal ids for every text."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=16).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Writes `tokenizer.json` into the folder `path`, or the file `path` if it ends in `.json`.

        The chat template, if there is one, is in a file next to it.
        """
        target = tokenizer_file(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_chat_template(self.chat_template, chat_template_file(target))
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with name_path(target):
                temporary.write_text(self.to_json(), encoding="utf-8")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def _frame(self, ids: list[int], add_special_tokens: bool, max_length: int | None) -> list[int]:
        head = [self.bos_token_id] if add_special_tokens and self.bos_token_id is not None else []
        tail = [self.eos_token_id] if add_special_tokens and self.eos_token_id is not None else []
        if max_length is not None:
            room = max_length - len(head) - len(tail)
            if room < 0:
                raise TokenizerError(
                    f"`max_length` must be at least {len(head) + len(tail)} for the special tokens; "
                    f"received {max_length}"
                )
            ids = ids[:room]
        return [*head, *ids, *tail]

    def _pad(self, ids: list[int], length: int) -> list[int]:
        if self.pad_token_id is None:
            raise TokenizerError("`padding` needs a pad token and this tokenizer has none")
        return ids + [self.pad_token_id] * (length - len(ids))

    def _require_ids(self, ids: Iterable[int]) -> list[int]:
        if isinstance(ids, (str, bytes)):
            raise TokenizerError(f"ids must be integers; received a {type(ids).__name__}")
        checked = [int(token_id) for token_id in ids]
        if checked and not 0 <= min(checked) <= max(checked) < self.vocab_size:
            wrong = next(token_id for token_id in checked if not 0 <= token_id < self.vocab_size)
            raise TokenizerError(f"ids must be in [0, vocab_size={self.vocab_size}); received {wrong}")
        return checked

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"


def tokenizer_file(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the `tokenizer.json` at `path`, a folder or the file itself."""
    path = expand_home(path)
    return path if path.suffix == ".json" else path / TOKENIZER_FILE


def require_list(texts: Any) -> Any:
    """Returns `texts`, after checking that it is not one text, whose characters would be taken as texts.

    Raises:
        TokenizerError: it is one text.
    """
    if isinstance(texts, (str, bytes)):
        raise TokenizerError("`texts` must be a list of texts; received one text, put it into a list")
    return texts


def _require_text(text: Any) -> str:
    if not isinstance(text, str):
        raise TokenizerError(f"a text must be a str; received {type(text).__name__}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"a text must be encodable as UTF-8; received a lone surrogate at character {error.start}"
            ) from None
    return text
