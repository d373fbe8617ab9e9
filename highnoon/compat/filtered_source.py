"""Filters duplicates and texts that are too short, too long or hardly text, under a former name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from highnoon.config import require_flag, require_number
from highnoon.data.cleaning import CleanedSource, ExactDuplicates, Length, LetterShare, Step
from highnoon.data.document import DataError, Document, DocumentSource


class FilteredSource(DocumentSource):
    """The documents of another source that pass some filters.

    A short form of `CleanedSource` with `Length`, `LetterShare` and `ExactDuplicates`; `CleanedSource` has
    more steps and a more detailed report.

    Args:
        source: The source to filter.
        min_characters: Minimum length of a text.
        max_characters: Maximum length of a text; None sets no limit.
        min_letter_share: Minimum fraction of letters among the characters that are not whitespace, in [0, 1];
            tables, dumps and markup have few letters.
        drop_duplicates: Whether to keep only the first of texts that differ only in case and whitespace.

    Raises:
        DataError: If a limit is out of range.

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
        """Returns how many documents were read, kept, and dropped for each reason."""
        report = self._cleaned.report()
        totals = {kind: report[kind]["documents"] for kind in ("read", "kept")}
        dropped = [step["dropped"].items() for step in report["steps"]]
        return totals | {reason: found["documents"] for reasons in dropped for reason, found in reasons}

    def _describe(self, digest: hashlib.blake2b) -> None:
        self._cleaned._describe(digest)
