"""A folder of prepared tokens as a source of documents."""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from highnoon.data.document import Document, DocumentSource
from highnoon.data.tokens.token_store import (
    LABELS_FILE,
    MANIFEST_FILE,
    TokenStore,
    is_unfinished,
    read_manifest,
    saved_tokenizer,
    store_fingerprint,
)
from highnoon.tokenization import Tokenizer
from highnoon.tokenization.marked_text import MarkedText


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

    def __init__(
        self, folder: str | os.PathLike[str], name: str | None = None, documents: int | None = None
    ) -> None:
        self.folder = pathlib.Path(folder)
        self.num_documents = documents
        manifest = read_manifest(self.folder, documents)
        self.name = name or manifest["source"]
        self.has_labels = LABELS_FILE in manifest["sizes"]
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
            text, supervised, marks = stored_text(self.store, number)
            domain, label = self.store.domain(number), self.store.label(number)
            yield Document(text, self.name, str(number), domain, supervised, marks, label)


def is_prepared(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` is a folder of tokens, finished or not."""
    return (pathlib.Path(path) / MANIFEST_FILE).is_file() or is_unfinished(pathlib.Path(path))


def stored_text(store: TokenStore, document: int) -> MarkedText:
    """Returns the text of a document, what of it is supervised, and its special tokens as marks."""
    supervised = store.supervised(document)
    if supervised.all():
        return MarkedText(store.text(document))
    tokenizer, tokens = store.tokenizer, store.tokens(document)
    begin = int(tokens[0] == tokenizer.bos_token_id)
    tokens = np.asarray(tokenizer.unframed(tokens))
    supervised = supervised[begin : begin + len(tokens)]
    is_special = np.isin(tokens, [*tokenizer.special_ids])
    cuts = np.flatnonzero(np.diff(supervised) | np.diff(is_special) | (is_special[1:] & is_special[:-1])) + 1
    text = ""
    stretches: list[tuple[int, int]] = []
    marks = []
    for ids in np.split(np.arange(len(tokens)), cuts) if len(tokens) else []:
        piece = tokenizer.decode(tokens[ids], skip_special_tokens=False)
        span = (len(text), len(text) + len(piece))
        text += piece
        if is_special[ids[0]]:
            marks.append(span)
        if supervised[ids[0]] and stretches and stretches[-1][1] == span[0]:
            span = (stretches.pop()[0], span[1])
        if supervised[ids[0]] and span[0] < span[1]:
            stretches.append(span)
    return MarkedText(text, tuple(stretches), tuple(marks))
