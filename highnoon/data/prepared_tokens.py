"""A folder of prepared tokens as a source of documents."""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from highnoon.data.document import Document, DocumentSource
from highnoon.data.token_store import (
    MANIFEST_FILE,
    TokenStore,
    is_unfinished,
    read_manifest,
    saved_tokenizer,
    store_fingerprint,
)
from highnoon.tokenization import Tokenizer


class PreparedTokens(DocumentSource):
    """What `prepare` wrote, wherever a dataset is asked for.

    `tokenize` with an equal tokenizer takes the tokens as they are, without reading them; with another it
    tokenises the decoded text again. Source and id of the documents are not kept, their number is their id.

    Args:
        folder: What `prepare` wrote.
        name: What reports call it; None takes the name of the source it was made from.
        documents: How many to read from the first on; see `TokenStore`.

    Raises:
        DamagedStoreError: there is no manifest, a file of another size than it says, or no tokenizer.
        DataError: there are fewer `documents`, or the folder is unfinished and none was named.

    Example:

    ```python
    import tempfile
    from highnoon.data import PreparedTokens, StandardLibrary, prepare
    from highnoon.tokenization import ByteTokenizer
    source = StandardLibrary(("docs",))
    with tempfile.TemporaryDirectory() as folder:
        prepare(source, ByteTokenizer(), folder)
        prepared = PreparedTokens(folder)
        assert next(prepared.documents()).text == next(source.documents()).text
    ```
    """

    def __init__(self, folder: str | os.PathLike[str], name: str | None = None,
                 documents: int | None = None) -> None:
        self.folder = pathlib.Path(folder)
        self.num_documents = documents
        manifest = read_manifest(self.folder, documents)
        self.name = name or manifest["source"]
        self._key = store_fingerprint(manifest["key"], documents)
        self.tokenizer: Tokenizer = saved_tokenizer(self.folder, manifest)

    @functools.cached_property
    def store(self) -> TokenStore:
        """The tokens themselves."""
        return TokenStore(self.folder, self.tokenizer, self.name, documents=self.num_documents)

    def fingerprint(self) -> str:
        return self._key

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self._key.encode())

    def documents(self) -> Iterator[Document]:
        for number in range(len(self.store)):
            text, learned = text_and_stretches(self.store, number)
            yield Document(text, self.name, str(number), self.store.domain(number), learned)


def is_prepared(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` is a folder of tokens, finished or not."""
    return (pathlib.Path(path) / MANIFEST_FILE).is_file() or is_unfinished(pathlib.Path(path))


def text_and_stretches(store: TokenStore, document: int) -> tuple[str, tuple[tuple[int, int], ...] | None]:
    """Returns the text of a document and the stretches of it that are learnt, None for all."""
    learned = store.learned(document)
    if learned.all():
        return store.text(document), None
    tokens = store.tokens(document)
    cuts = np.flatnonzero(np.diff(learned)) + 1
    text, stretches = "", []
    for ids, flags in zip(np.split(tokens, cuts), np.split(learned, cuts), strict=True):
        piece = store.tokenizer.decode(ids.tolist())
        if flags[0] and piece:
            stretches.append((len(text), len(text) + len(piece)))
        text += piece
    return text, tuple(stretches)
