"""Loading a tokenizer of any kind from its file."""

from __future__ import annotations

import os

from highnoon.files.folder_manifest import damage_of_file
from highnoon.tokenization.bpe_tokenizer import QWTTextTokenizer, is_highnoon_definition
from highnoon.tokenization.byte_tokenizer import ByteTokenizer
from highnoon.tokenization.pretrained_tokenizer import PretrainedTokenizer
from highnoon.tokenization.read_definition import read_definition
from highnoon.tokenization.tokenizer import Tokenizer, TokenizerError, tokenizer_file


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Returns the tokenizer in a folder or a `tokenizer.json`, HighNoon's own or a Hugging Face one.

    A HighNoon tokenizer without merges comes back as `ByteTokenizer`, which has the same ids.

    Raises:
        TokenizerError: there is no tokenizer at `path`, or one without an end token.

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
        raise TokenizerError(f"no tokenizer at {file}; give a tokenizer.json or the folder that holds one")
    if reason := damage_of_file(file):
        raise TokenizerError(f"{file} is damaged: {reason} since it was saved; take another copy")
    values = read_definition(file)
    if not is_highnoon_definition(values):
        return PretrainedTokenizer.load(file)
    return QWTTextTokenizer.load(file) if values["model"]["merges"] else ByteTokenizer()
