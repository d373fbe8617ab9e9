"""Masks personal data, or drops texts that have it."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Sequence
from typing import Any

from highnoon.config import require_texts, shown
from highnoon.data.cleaning.personal_patterns import (
    Finder,
    find_cards,
    find_emails,
    find_ibans,
    find_ip_addresses,
    find_phones,
    number_zones,
)
from highnoon.data.cleaning.step import Changed, StatelessStep, Verdict
from highnoon.data.document import DataError, Document
from highnoon.files.nearest_name import nearest_name

# If two finders match the same characters, the first one names them.
FINDERS: dict[str, Finder] = {
    "email": find_emails,
    "iban": find_ibans,
    "card": find_cards,
    "ip": find_ip_addresses,
    "phone": find_phones,
}
ACTIONS = ("mask", "drop")


@dataclasses.dataclass(frozen=True)
class PersonalData(StatelessStep):
    """Masks personal data, or drops the texts that have it.

    The patterns have high precision: they prefer misses to false alarms.

    - `email`: addresses with a top-level domain of letters.
    - `phone`: numbers with `+` and a country code, North American numbers written 3-3-4, and numbers that
      begin with 0 after a word such as "tel" or "phone".
    - `ip`: public IPv4 and IPv6 addresses, not those of local networks.
    - `card`: numbers of the large card issuers with a valid check digit (Luhn).
    - `iban`: account numbers of a known country with valid check digits.

    Names and postal addresses are not detected. `Document.supervised` is adjusted: a placeholder is
    supervised if any of the characters that it replaces was.

    Args:
        action: `"mask"` replaces each match with a placeholder, `"drop"` drops the text.
        kinds: Which of the kinds above to search for.
        placeholder: The replacement; `{kind}` is the kind in capitals.

    Raises:
        DataError: If an action or kind is unknown, there is no kind, or the placeholder has other braces than
            `{kind}`.

    Example:

    ```python
    verdict = PersonalData().judge(Document("Write to ada@example.org, or not."))
    assert verdict.document.text == "Write to [EMAIL], or not."
    ```
    """

    reason = "personal data"

    action: str = "mask"
    kinds: str | tuple[str, ...] = tuple(FINDERS)
    placeholder: str = "[{kind}]"

    def __post_init__(self) -> None:
        kinds = require_texts("kinds", self.kinds, DataError)
        if not kinds:
            raise DataError(f"`kinds` must name at least one of {', '.join(FINDERS)}; received none")
        for name, value, known in [
            ("action", self.action, ACTIONS),
            *(("kinds", kind, tuple(FINDERS)) for kind in kinds),
        ]:
            if value not in known:
                near = nearest_name(value, known)
                hint = f"; did you mean {near!r}?" if near is not None else ""
                raise DataError(f"`{name}` must be of {', '.join(known)}; received {shown(value)}{hint}")
        if not _is_placeholder(self.placeholder):
            raise DataError(
                f"`placeholder` must be text with no braces other than `{{kind}}`; received "
                f"{shown(self.placeholder)}"
            )
        object.__setattr__(self, "kinds", tuple(kind for kind in FINDERS if kind in kinds))

    def judge(self, document: Document) -> Verdict:
        found = self.find(document.text)
        if not found:
            return None
        if self.action == "drop":
            return found[0][2]
        spans = [(start, stop, self.placeholder.format(kind=kind.upper())) for start, stop, kind in found]
        kinds = tuple(dict.fromkeys(kind for _, _, kind in found))
        return Changed(replace_spans(document, spans), kinds)

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Returns `(start, stop, kind)` of all matches, in order and without overlap."""
        rank = {kind: index for index, kind in enumerate(self.kinds)}
        zones = number_zones(text)
        found = [(start, stop, kind) for kind in self.kinds for start, stop in FINDERS[kind](text, zones)]
        kept: list[tuple[int, int, str]] = []
        for start, stop, kind in sorted(found, key=lambda span: (span[0], rank[span[2]])):
            if not kept or start >= kept[-1][1]:
                kept.append((start, stop, kind))
            elif rank[kind] < rank[kept[-1][2]]:
                kept[-1] = (kept[-1][0], max(stop, kept[-1][1]), kind)
        return kept


def replace_spans(document: Document, spans: Sequence[tuple[int, int, str]]) -> Document:
    """Returns a document with some spans of text replaced and its supervised spans adjusted.

    Args:
        document: The document.
        spans: `(start, stop, new text)`, in order and without overlap.
    """
    parts: list[str] = []
    end = 0
    for start, stop, new in spans:
        parts += [document.text[end:start], new]
        end = stop
    text = "".join([*parts, document.text[end:]])
    kept = [
        mark
        for mark in document.marks
        if not any(start < mark[1] and mark[0] < stop for start, stop, _ in spans)
    ]
    return dataclasses.replace(
        document,
        text=text,
        supervised=_moved(document.supervised, spans),
        marks=_moved(tuple(kept), spans) or (),
    )


def _moved(
    supervised: tuple[tuple[int, int], ...] | None, spans: Sequence[tuple[int, int, str]]
) -> tuple[tuple[int, int], ...] | None:
    """Returns the spans in the changed text; a span that overlaps a replaced one covers its new text."""
    if supervised is None:
        return None
    moved: list[tuple[int, int]] = []
    for start, stop in supervised:
        begin = _position_after(start, spans, is_stop=False)
        begin = max(begin, moved[-1][1]) if moved else begin
        end = _position_after(stop, spans, is_stop=True)
        if begin < end:
            moved.append((begin, end))
    return tuple(moved)


def _position_after(position: int, spans: Sequence[tuple[int, int, str]], *, is_stop: bool) -> int:
    shift = 0
    for start, stop, new in spans:
        if position <= start:
            break
        if position < stop:
            return start + shift + (len(new) if is_stop else 0)
        shift += len(new) - (stop - start)
    return position + shift


def _is_placeholder(text: Any) -> bool:
    """Returns whether all fields in braces are `{kind}`, without a width, which could be any number."""
    if not isinstance(text, str):
        return False
    try:
        fields = [field[1:] for field in string.Formatter().parse(text) if field[1] is not None]
    except ValueError:
        return False
    return all(field == ("kind", "", None) for field in fields)
