"""Loading a tokenizer of any kind from its file."""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

from highnoon.files.folder_manifest import damage_of_file
from highnoon.tokenization.byte_pair.byte_pair_tokenizer import BytePairTokenizer, is_highnoon_definition
from highnoon.tokenization.byte_tokenizer import ByteTokenizer
from highnoon.tokenization.chat.chat_template_file import (
    chat_template_file,
    read_chat_template,
    read_published_template,
)
from highnoon.tokenization.pretrained_tokenizer import PretrainedTokenizer
from highnoon.tokenization.read_definition import read_definition
from highnoon.tokenization.special_tokens import SPECIAL_TOKENS
from highnoon.tokenization.token_roles import read_published_roles
from highnoon.tokenization.tokenizer import Tokenizer, TokenizerError, tokenizer_file

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Returns the tokenizer in a folder or a `tokenizer.json`, HighNoon's own or a Hugging Face one.

    A HighNoon tokenizer without merges is returned as `ByteTokenizer`, which has the same ids. A chat
    template next to the file is loaded too, as is that of a Hugging Face folder, with the special tokens that
    `tokenizer_config.json` names and the end tokens of `generation_config.json`.

    Raises:
        TokenizerError: `path` has no tokenizer, or one without an end token.
        ChatTemplateError: the chat template is damaged.

    Example:

    ```python
    import tempfile
    from highnoon.tokenization import ByteTokenizer, load_tokenizer
    with tempfile.TemporaryDirectory() as folder:
        ByteTokenizer().save(folder)
        assert load_tokenizer(folder).encode("A") == [2, 72, 3]
    ```
    """
    file = tokenizer_file(path)
    if not file.is_file():
        hint = "give a tokenizer.json or the folder that contains one"
        raise TokenizerError(f"no tokenizer at {file}; {hint}{_of_the_hub(os.fspath(path))}")
    if reason := damage_of_file(file):
        raise TokenizerError(f"{file} is damaged: {reason} since it was saved; take another copy")
    values = read_definition(file)
    tokenizer = _tokenizer_of(values, file)
    own = chat_template_file(file)
    is_own = own.is_file()
    tokenizer.chat_template = read_chat_template(own) if is_own else read_published_template(file.parent)
    return tokenizer


def _of_the_hub(name: str) -> str:
    """Returns what to do where a missing path may be meant as the name of a published tokenizer."""
    if _HUB_NAME.fullmatch(name) is None or name.endswith(".json"):
        return ""
    return (
        f". For the published `{name}`, first run: hf download {name} tokenizer.json --local-dir {name}. "
        "The byte tokenizer (`byte`) needs no file, nor does a byte-pair one trained on your data (`bpe`)"
    )


def _tokenizer_of(values: Any, file: pathlib.Path) -> Tokenizer:
    if not is_highnoon_definition(values):
        return PretrainedTokenizer.load(file, read_published_roles(file.parent))
    if not values["model"]["merges"] and len(values["added_tokens"]) == len(SPECIAL_TOKENS):
        return ByteTokenizer()
    return BytePairTokenizer.load(file)
