"""Drops texts that are too short or too long."""

from __future__ import annotations

import dataclasses

from highnoon.config import require_count
from highnoon.data.cleaning.step import StatelessStep, Verdict
from highnoon.data.document import DataError, Document


@dataclasses.dataclass(frozen=True)
class Length(StatelessStep):
    """Drops texts outside of limits; the limits are inclusive.

    Args:
        min_characters: Minimum number of characters.
        max_characters: Maximum number of characters; None sets no limit.
        min_words: Minimum number of words, separated by whitespace.
        max_words: Maximum number of words; None sets no limit.

    Raises:
        DataError: If a limit is negative, or an upper limit is below its lower limit.

    Example:

    ```python
    assert Length(min_words=3).judge(Document("two words")) == "too short"
    ```
    """

    reason = "too short or too long"

    min_characters: int = 1
    max_characters: int | None = None
    min_words: int = 0
    max_words: int | None = None

    def __post_init__(self) -> None:
        for unit in ("characters", "words"):
            least, most = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            require_count(f"min_{unit}", least, least=0, error=DataError)
            if most is None:
                continue
            require_count(f"max_{unit}", most, least=0, error=DataError)
            if most < least:
                raise DataError(f"`max_{unit}` must be at least min_{unit}={least}; received {most}")

    def judge(self, document: Document) -> Verdict:
        num_characters = len(document.text)
        if num_characters < self.min_characters:
            return "too short"
        if self.max_characters is not None and num_characters > self.max_characters:
            return "too long"
        if not self.min_words and self.max_words is None:
            return None
        num_words = len(document.text.split())
        if num_words < self.min_words:
            return "too short"
        return "too long" if self.max_words is not None and num_words > self.max_words else None
