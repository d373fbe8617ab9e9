"""Small stores of known documents."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable, Iterator, Sequence

import pytest

from highnoon.data import Document, DocumentSource, TokenStore, tokenize
from highnoon.tokenization import ByteTokenizer

MakeStore = Callable[..., TokenStore]


class ListSource(DocumentSource):
    """Documents given by their texts."""

    def __init__(self, texts: Sequence[str], name: str = "texts") -> None:
        self.texts = list(texts)
        self.name = name

    def documents(self) -> Iterator[Document]:
        return (Document(text, self.name, str(index)) for index, text in enumerate(self.texts))

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(repr(self.texts).encode())


@pytest.fixture
def make_source() -> Callable[..., ListSource]:
    return ListSource


@pytest.fixture
def make_store(tmp_path: pathlib.Path) -> MakeStore:
    """Tokenises texts by bytes, none held out unless asked."""

    def make(texts: Sequence[str], name: str = "texts", validation_split: float = 0.0) -> TokenStore:
        return tokenize(ListSource(texts, name), ByteTokenizer(), tmp_path / "cache", validation_split)

    return make
