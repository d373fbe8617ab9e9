"""Drops texts with few letters."""

from __future__ import annotations

import dataclasses

from highnoon.data.cleaning.scripts import count_letters
from highnoon.data.cleaning.step import StatelessStep, Verdict, require_fractions
from highnoon.data.document import Document


@dataclasses.dataclass(frozen=True)
class LetterShare(StatelessStep):
    """Drops texts with a small fraction of letters, such as tables, dumps and markup.

    Args:
        least: Minimum fraction of letters among the characters that are not whitespace, in [0, 1].

    Raises:
        DataError: If `least` is out of range.

    Example:

    ```python
    assert LetterShare(0.5).judge(Document("12 34 x")) == "few letters"
    ```
    """

    reason = "few letters"

    least: float = 0.6

    def __post_init__(self) -> None:
        require_fractions({"least": self.least})

    def judge(self, document: Document) -> Verdict:
        num_characters, num_letters, _ = count_letters(document.text)
        return self.reason if num_letters < self.least * num_characters else None
