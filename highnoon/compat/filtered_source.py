"""Leaving out documents that teach nothing: duplicates, and texts too short, too long or hardly text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from highnoon.config import require_flag, require_number
from highnoon.data.cleaning import CleanedSource, ExactDuplicates, Length, LetterShare, Step
from highnoon.data.document import DataError, Document, DocumentSource


class FilteredSource(DocumentSource):
    """The documents of another source that pass every test asked for.

    The short form of a `CleanedSource` with `Length`, `LetterShare` and `ExactDuplicates`, which says more of
    each, and of which there are more.

    Args:
        source: What is filtered.
        min_characters: Shortest text to keep.
        max_characters: Longest text to keep; None sets no bound.
        min_letter_share: Least share of letters among a text's characters that are not whitespace, in
            [0, 1]; tables, dumps and markup have few.
        drop_duplicates: Keep the first of texts that differ in case and whitespace only.

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
        assert source.report() == {"read": 3, "kept": 1, "few letters": 1, "duplicate": 1}
    ```
    """

    def __init__(
        self,
        source: DocumentSource,
        min_characters: int = 1,
        max_characters: int | None = None,
        min_letter_share: float = 0.0,
        drop_duplicates: bool = True,
    ) -> None:
        require_number("min_letter_share", min_letter_share, least=0, most=1, error=DataError)
        require_flag("drop_duplicates", drop_duplicates, DataError)
        steps: list[Step] = [Length(min_characters, max_characters)]
        if min_letter_share:
            steps.append(LetterShare(min_letter_share))
        if drop_duplicates:
            steps.append(ExactDuplicates())
        self.source = source
        self.name = source.name
        self._cleaned = CleanedSource(source, steps)

    def documents(self) -> Iterator[Document]:
        return self._cleaned.documents()

    def report(self) -> dict[str, int]:
        """Returns how many documents were read, kept, and left out for which reason."""
        report = self._cleaned.report()
        totals = {kind: report[kind]["documents"] for kind in ("read", "kept")}
        dropped = [step["dropped"].items() for step in report["steps"]]
        return totals | {reason: found["documents"] for reasons in dropped for reason, found in reasons}

    def _describe(self, digest: hashlib.blake2b) -> None:
        self._cleaned._describe(digest)
