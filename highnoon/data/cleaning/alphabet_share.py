"""Drops texts that are written in another alphabet."""

from __future__ import annotations

import dataclasses

from highnoon.data.cleaning.scripts import ALPHABETS, count_letters
from highnoon.data.cleaning.step import StatelessStep, Verdict, require_fractions
from highnoon.data.document import DataError, Document
from highnoon.files.nearest_name import unknown_name


@dataclasses.dataclass(frozen=True)
class AlphabetShare(StatelessStep):
    """Drops texts in which too few letters belong to an alphabet.

    A letter belongs to a script by its Unicode block; digits, punctuation, marks and whitespace are not
    counted, and a text without letters is kept. This distinguishes alphabets, not languages: French and
    English are both Latin.

    Args:
        alphabet: A script (`"latin"`, `"cyrillic"`, `"han"`, ...), `"japanese"` (Han, Hiragana and
            Katakana) or `"korean"` (Hangul and Han).
        least: Minimum fraction of the letters, in [0, 1].

    Raises:
        DataError: If the alphabet is unknown, or `least` is out of range.

    Example:

    ```python
    assert AlphabetShare("latin", 0.8).judge(Document("Москва is big")) == "few latin letters"
    ```
    """

    reason = "another alphabet"

    alphabet: str = "latin"
    least: float = 0.8

    def __post_init__(self) -> None:
        require_fractions({"least": self.least})
        if not isinstance(self.alphabet, str) or self.alphabet not in ALPHABETS:
            raise DataError(unknown_name("alphabet", self.alphabet, ALPHABETS))

    def judge(self, document: Document) -> Verdict:
        _, num_letters, by_script = count_letters(document.text)
        num_own = sum(by_script[script] for script in ALPHABETS[self.alphabet])
        return f"few {self.alphabet} letters" if num_own < self.least * num_letters else None
