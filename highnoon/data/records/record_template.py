"""Several fields of a record as one text."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import shown
from highnoon.data.bad_records import BadRecordError
from highnoon.data.document import DataError, Spans, SupervisedText
from highnoon.data.records.record_values import plain_value, shown_names


class RecordTemplate:
    """A text template with the fields of a record.

    A string is inserted as it is, a number as Python formats it, a list or an object as JSON.

    Args:
        template: Text with field names in braces; `{{` and `}}` are literal braces.
        learned_fields: Fields that are supervised; empty supervises the whole text.

    Raises:
        DataError: If the template has no field, an unmatched brace, or a conversion or format of a field, or
            does not contain all of `learned_fields`.

    Example:

    ```python
    from highnoon.data.records.record_template import RecordTemplate
    template = RecordTemplate("{title}: {words}", learned_fields=("words",))
    assert template.render({"title": "A", "words": [1, 2]}, "a.jsonl:1") == ("A: [1, 2]", ((3, 9),))
    ```
    """

    def __init__(self, template: str, learned_fields: Sequence[str] = ()) -> None:
        self.template = template
        self.learned_fields = tuple(learned_fields)
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise DataError(
                f"`template` {shown(template)} is not a valid template: {error}; write {{{{ and }}}} for "
                f"literal braces"
            ) from None
        if formed := [field for _, field, form, conversion in parts if form or conversion]:
            raise DataError(
                f"`template` takes plain field names, as in {{{formed[0]}}}, without `!` or `:`; received "
                f"{shown(template)}"
            )
        self._parts = [(words, field) for words, field, _, _ in parts]
        self.fields = [field for _, field in self._parts if field is not None]
        if not self.fields or "" in self.fields:
            raise DataError(
                f"`template` must name fields in braces, as in {{title}}; received {shown(template)}"
            )
        if missing := [field for field in self.learned_fields if field not in self.fields]:
            raise DataError(
                f"`learned_fields` must be fields of the template; {shown(', '.join(missing))} is not"
            )

    def render(self, values: Mapping[str, Any], location: str) -> SupervisedText:
        """Returns the text of a record.

        Raises:
            BadRecordError: If a field is missing or null.
        """
        pieces: list[str] = []
        supervised: list[tuple[int, int]] = []
        length = 0
        for words, field in self._parts:
            value = "" if field is None else self._value(values, field, location)
            start = length + len(words)
            length = start + len(value)
            pieces += [words, value]
            if field in self.learned_fields and value:
                supervised.append((start, length))
        return SupervisedText("".join(pieces), _joined(supervised) if self.learned_fields else None)

    def _value(self, values: Mapping[str, Any], field: str, location: str) -> str:
        value = plain_value(values.get(field), location)
        if value is None or value != value:
            found = "it is null" if field in values else f"the fields are {shown_names(values)}"
            raise BadRecordError(
                f"{location}: the template names the field `{field}`; {found}", "missing field", location
            )
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _joined(spans: list[tuple[int, int]]) -> Spans:
    """Joins adjacent spans."""
    joined: list[tuple[int, int]] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, stop))
    return tuple(joined)
