"""Leaving out documents that teach nothing: duplicates, and texts too short, too long or hardly text."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Iterator

from highnoon.data.document import DataError, Document, DocumentSource
from highnoon.data.splitting import split_hash


class FilteredSource(DocumentSource):
    """The documents of another source that pass every test asked for.

    Two texts are duplicates if they differ in case and whitespace only; the first stays. Their hashes are
    kept in memory, about 100 bytes a document.

    Args:
        source: What is filtered.
        min_characters: Shortest text to keep.
        max_characters: Longest text to keep; None sets no bound.
        min_letter_share: Least share of letters among a text's characters that are not whitespace, in
            [0, 1]; tables, dumps and markup have few.
        drop_duplicates: Keep the first of equal texts only.

    Raises:
        DataError: a bound is out of its range.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import Files, FilteredSource
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("A line.\\na  LINE.\\n" + 9 * "=-" + "\\n")
        source = FilteredSource(Files(f"{folder}/a.txt", split="line"), min_letter_share=0.5)
        assert [document.text for document in source.documents()] == ["A line."]
        assert source.report() == {"read": 3, "kept": 1, "duplicate": 1, "few letters": 1}
    ```
    """

    def __init__(self, source: DocumentSource, min_characters: int = 1, max_characters: int | None = None,
                 min_letter_share: float = 0.0, drop_duplicates: bool = True) -> None:
        if not 0.0 <= min_letter_share <= 1.0:
            raise DataError(f"`min_letter_share` must be in [0, 1]; received {min_letter_share}")
        if max_characters is not None and max_characters < min_characters:
            raise DataError(f"`max_characters` must be at least min_characters={min_characters}; "
                            f"received {max_characters}")
        self.source = source
        self.name = source.name
        self.min_characters = min_characters
        self.max_characters = max_characters
        self.min_letter_share = min_letter_share
        self.drop_duplicates = drop_duplicates
        self._counts: collections.Counter[str] | None = None

    def documents(self) -> Iterator[Document]:
        counts: collections.Counter[str] = collections.Counter(read=0, kept=0)
        seen: set[int] = set()
        for document in self.source.documents():
            reason = self._reason(document.text, seen)
            counts["read"] += 1
            counts[reason or "kept"] += 1
            if reason is None:
                yield document
        self._counts = counts

    def report(self) -> dict[str, int]:
        """Returns how many documents were read, kept, and left out for which reason."""
        if self._counts is None:
            collections.deque(self.documents(), maxlen=0)
        return dict(self._counts or {})

    def _reason(self, text: str, seen: set[int]) -> str | None:
        """Why `text` is left out, None if it stays."""
        if len(text) < self.min_characters:
            return "too short"
        if self.max_characters is not None and len(text) > self.max_characters:
            return "too long"
        words = "".join(text.split())
        if self.min_letter_share and sum(map(str.isalpha, words)) < self.min_letter_share * len(words):
            return "few letters"
        if not self.drop_duplicates:
            return None
        place = split_hash(words.casefold())
        is_new = place not in seen
        seen.add(place)
        return None if is_new else "duplicate"

    def _describe(self, digest: hashlib.blake2b) -> None:
        options = (self.min_characters, self.max_characters, self.min_letter_share, self.drop_duplicates)
        digest.update(f"{self.source.fingerprint()}{options}".encode())
