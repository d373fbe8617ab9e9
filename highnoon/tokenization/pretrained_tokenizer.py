"""Any Hugging Face `tokenizer.json`, with the interface of `Tokenizer`."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.files.foreign import ForeignDataError, read_text
from highnoon.tokenization.byte_pair.engine_errors import engine_errors
from highnoon.tokenization.byte_pair.plain_text_engine import plain_text_definition
from highnoon.tokenization.read_definition import require_bounded
from highnoon.tokenization.token_roles import PublishedRoles, TokenRoles, with_roles, without_roles
from highnoon.tokenization.tokenizer import Tokenizer, TokenizerError, tokenizer_file

# Names of these roles in published tokenizers, the most specific first.
_PAD_NAMES = ("<|pad|>", "<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>", "<PAD>")
_UNK_NAMES = ("<|unk|>", "<unk>", "[UNK]", "<UNK>")
_BOS_NAMES = (
    "<|bos|>",
    "<s>",
    "<bos>",
    "[BOS]",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<|begin▁of▁sentence|>",
    "[CLS]",
)
_EOS_NAMES = (
    "<|eos|>",
    "</s>",
    "<eos>",
    "[EOS]",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end▁of▁sentence|>",
    "<|im_end|>",
    "<|eot_id|>",
    "[SEP]",
)


class PretrainedTokenizer(Tokenizer):
    """A published tokenizer, as its `tokenizer.json` defines it.

    Its end, begin, pad and unknown tokens are those that the files of its folder name, or are found by their
    usual names. A begin token is used if there is one and the folder does not say otherwise. Generation ends
    after each end token that the folder lists. The name of a special token inside a text is plain text. If
    it normalizes text, decoding returns the normalized text, so tokens may not contain a corpus's exact text.

    Args:
        definition: The text of a `tokenizer.json`.
        roles: What the files of its folder say of its special tokens; None finds them by name.

    Raises:
        TokenizerError: the text is not a tokenizer, or it has no end token.
    """

    is_exact = False

    def __init__(self, definition: str, roles: PublishedRoles | None = None) -> None:
        require_bounded(definition)
        self._definition, saved = without_roles(definition)
        self._engine = _read_engine(self._definition)
        self._named_roles = TokenRoles(
            bos=self._find(_BOS_NAMES),
            eos=self._find(_EOS_NAMES),
            pad=self._find(_PAD_NAMES),
            unk=self._find(_UNK_NAMES),
        )
        if saved is None:
            saved = self._named_roles if roles is None else roles.resolve(self._engine, self._named_roles)
        self._roles = saved
        self._require_known_ids()
        self.pad_token_id, self.unk_token_id = saved.pad, saved.unk
        self.bos_token_id, self.eos_token_id = saved.bos, saved.eos
        if self.eos_token_id is None:
            raise TokenizerError(
                f"the tokenizer has no end token: looked for {', '.join(_EOS_NAMES)}; add one of them to its "
                f"added tokens"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], roles: PublishedRoles | None = None) -> PretrainedTokenizer:
        """Returns the tokenizer of a `tokenizer.json` or of the folder that contains one."""
        file = tokenizer_file(path)
        if not file.is_file():
            raise TokenizerError(f"no tokenizer at {file}; give a tokenizer.json or its folder")
        try:
            return cls(read_text(file), roles)
        except ForeignDataError as error:
            raise TokenizerError(f"{error}; give a tokenizer.json") from None
        except TokenizerError as error:
            raise TokenizerError(f"{file}: {error}") from None

    def _find(self, names: Sequence[str]) -> int | None:
        found = (self._engine.token_to_id(name) for name in names)
        return next((token_id for token_id in found if token_id is not None), None)

    def _require_known_ids(self) -> None:
        roles = self._roles
        for token_id in (roles.bos, roles.eos, roles.pad, roles.unk, *roles.ends):
            if token_id is not None and token_id >= self.vocab_size:
                raise TokenizerError(
                    f"the roles of special tokens name the id {token_id} and the tokenizer has ids up to "
                    f"{self.vocab_size - 1}; take the files of one and the same tokenizer"
                )

    @functools.cached_property
    def vocab_size(self) -> int:
        """One more than the highest id: published vocabularies have gaps."""
        return max(self._engine.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:
        roles = self._roles
        used = (roles.pad, roles.bos, roles.eos, *roles.ends)
        return self._marked_ids | {token_id for token_id in used if token_id is not None}

    @functools.cached_property
    def _marked_ids(self) -> frozenset[int]:
        """The ids of added tokens that the definition marks as special."""
        added = self._engine.get_added_tokens_decoder()
        return frozenset(token_id for token_id, token in added.items() if token.special)

    @functools.cached_property
    def ids_of_special_tokens(self) -> Mapping[str, int]:
        names = {token_id: self._engine.id_to_token(token_id) for token_id in self.special_ids}
        return {name: token_id for token_id, name in names.items() if name}

    def to_json(self) -> str:
        if self._roles == self._named_roles:
            return self._definition
        return with_roles(self._definition, self._roles)

    def turn_ends(self) -> list[int | str]:
        return list(dict.fromkeys([*super().turn_ends(), *self._roles.ends]))

    def fingerprint(self) -> str:
        """Returns a hex hash; end tokens that the definition marks as special change no text's ids."""
        plain = tuple(end for end in self._roles.ends if end not in self._marked_ids)
        roles = dataclasses.replace(self._roles, ends=plain)
        text = self._definition if roles == self._named_roles else with_roles(self._definition, roles)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @functools.cached_property
    def _encoder(self) -> Any:
        """The engine that encodes: the text of a special token is plain text to it."""
        ids = self.special_ids | ({self.unk_token_id} if self.unk_token_id is not None else set())
        names = {token_id: self._engine.id_to_token(token_id) for token_id in sorted(ids)}
        definition = plain_text_definition(self._definition, names)
        return self._engine if definition is None else _read_engine(definition)

    def _encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        with engine_errors("the tokenizer cannot encode this text"):
            encodings = self._encoder.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _decode_ids(self, ids: list[int]) -> str:
        with engine_errors("the tokenizer cannot decode these ids"):
            return str(self._engine.decode(self._with_complete_characters(ids), skip_special_tokens=False))

    def _with_complete_characters(self, ids: list[int]) -> list[int]:
        """Replaces bytes of a run of byte ids that are not UTF-8 with the bytes of U+FFFD.

        `ByteFallback` writes every byte of such a run as U+FFFD, valid characters before it too, so that a
        later byte would change text that was decoded before.
        """
        if not self._id_of_byte or not any(token_id in self._byte_of_id for token_id in ids):
            return ids
        complete: list[int] = []
        for is_byte, run in itertools.groupby(ids, self._byte_of_id.__contains__):
            if is_byte:
                text = bytes(self._byte_of_id[token_id] for token_id in run).decode("utf-8", errors="replace")
                complete.extend(self._id_of_byte[byte] for byte in text.encode())
            else:
                complete.extend(run)
        return complete

    @functools.cached_property
    def _id_of_byte(self) -> list[int]:
        """The ids of the 256 bytes; empty if the decoder has no `ByteFallback`."""
        if '"ByteFallback"' not in self._definition:
            return []
        found = [self._engine.token_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        return [] if None in found else found

    @functools.cached_property
    def _byte_of_id(self) -> dict[int, int]:
        return {token_id: byte for byte, token_id in enumerate(self._id_of_byte)}


def _read_engine(definition: str) -> Any:
    import tokenizers

    with engine_errors("not a tokenizer.json that `tokenizers` can read"):
        engine = tokenizers.Tokenizer.from_str(definition)
    engine.no_padding()
    engine.no_truncation()
    engine.encode_special_tokens = True
    return engine
