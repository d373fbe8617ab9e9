"""A folder of prepared tokens as a source."""

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
from highnoon.files.expand_home import expand_home
from highnoon.tokenization import Tokenizer
from highnoon.tokenization.marked_text import MarkedText


class PreparedTokens(DocumentSource):
    """A folder that `prepare` wrote, for use as a dataset.

    `tokenize` with an equal tokenizer uses the tokens as they are, without reading them; with another
    tokenizer it tokenizes the decoded text again. The source and id of the documents are not stored; their
    number is their id.

    Args:
        folder: A folder that `prepare` wrote.
        name: The name in reports; None uses the name of the original source.
        documents: How many documents to read, starting with the first; see `TokenStore`.

    Raises:
        DamagedStoreError: If there is no manifest, a file has the wrong size, or there is no tokenizer.
        DataError: If there are fewer documents, or the folder is unfinished and `documents` is None.

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
        self.folder = expand_home(folder)
        self.num_documents = documents
        manifest = read_manifest(self.folder, documents)
        self.name = name or manifest["source"]
        self.has_labels = LABELS_FILE in manifest["sizes"]
        self.has_split_hashes = bool(manifest.get("has_split_hashes", False))
        self._key = store_fingerprint(manifest["key"], documents)
        self.tokenizer: Tokenizer = saved_tokenizer(self.folder, manifest)

    @functools.cached_property
    def store(self) -> TokenStore:
        """The token store."""
        return TokenStore(self.folder, self.tokenizer, self.name, documents=self.num_documents)

    def fingerprint(self) -> str:
        return self._key

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self._key.encode())

    def documents(self) -> Iterator[Document]:
        for number in range(len(self.store)):
            text, supervised, marks = stored_text(self.store, number)
            domain, label = self.store.domain(number), self.store.label(number)
            origin = self.store.origin(number) or ""
            # Those of other sources are the hashes of the texts.
            own = int(self.store.split_hashes[number]) if self.has_split_hashes else None
            yield Document(text, self.name, str(number), domain, supervised, marks, label, origin, own)


def is_prepared(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` is a folder of tokens, finished or not."""
    return (pathlib.Path(path) / MANIFEST_FILE).is_file() or is_unfinished(pathlib.Path(path))


def stored_text(store: TokenStore, document: int) -> MarkedText:
    """Returns the text of a document with its supervised spans, and its special tokens as marks."""
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
    spans: list[tuple[int, int]] = []
    marks = []
    for ids in np.split(np.arange(len(tokens)), cuts) if len(tokens) else []:
        piece = tokenizer.decode(tokens[ids], skip_special_tokens=False)
        span = (len(text), len(text) + len(piece))
        text += piece
        if is_special[ids[0]]:
            marks.append(span)
        if supervised[ids[0]] and spans and spans[-1][1] == span[0]:
            span = (spans.pop()[0], span[1])
        if supervised[ids[0]] and span[0] < span[1]:
            spans.append(span)
    return MarkedText(text, tuple(spans), tuple(marks))
