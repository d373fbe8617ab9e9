"""Drops texts in other languages (extra `clean`)."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
from typing import Any

from highnoon.config import require_count, require_texts
from highnoon.data.cleaning.step import StatelessStep, Verdict, require_fractions
from highnoon.data.document import DataError, Document


@dataclasses.dataclass(frozen=True)
class Language(StatelessStep):
    """Drops texts that the classifier of `py3langid` does not assign to one of some languages.

    The classifier knows about 100 languages and needs no network access. It makes confident mistakes on texts
    of a few words, on mixtures and on code: drop short texts first, and check the examples in the report
    before using it to separate similar languages.

    Args:
        languages: ISO 639-1 codes of the languages to keep, as `("en", "de")`.
        least: Minimum probability of the detected language, in [0, 1].
        max_characters: How many characters at the beginning of a text to classify.

    Raises:
        ImportError: If the extra `clean` is not installed.
        DataError: If there is no language, a language is unknown to the classifier, or `least` is out of
            range.

    Lui, Baldwin (2012), "langid.py: An Off-the-shelf Language Identification Tool", in Barbaresi's version.

    Example:

    ```python
    assert Language(("en",)).judge(Document("Das Haus steht am Ende der langen Strasse.")) == "in de"
    ```
    """

    reason = "another language"

    languages: str | tuple[str, ...] = ("en",)
    least: float = 0.5
    max_characters: int = 2000

    def __post_init__(self) -> None:
        require_fractions({"least": self.least})
        require_count("max_characters", self.max_characters, least=1, error=DataError)
        codes = tuple(require_texts("languages", self.languages, DataError))
        object.__setattr__(self, "languages", codes)
        if not codes:
            raise DataError("`languages` must name at least one language; received none")
        known = _classifier().labels
        if unknown := [code for code in codes if code not in known]:
            raise DataError(f"`languages` has no {', '.join(map(repr, unknown))}; known: {', '.join(known)}")

    def judge(self, document: Document) -> Verdict:
        language, probability = _classifier().classify(document.text[: self.max_characters])
        if language not in self.languages:
            return f"in {language}"
        return "language unclear" if probability < self.least else None

    def options(self) -> dict[str, Any]:
        return {**super().options(), "py3langid": importlib.metadata.version("py3langid")}


@functools.lru_cache(maxsize=1)
def _classifier() -> Any:
    try:
        langid = importlib.import_module("py3langid.langid")
    except ImportError:
        raise ImportError("the step `Language` needs py3langid: pip install highnoon[clean]") from None
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
