"""Documents from several fields of a record."""

from __future__ import annotations

import pytest

from highnoon.data import DataError
from highnoon.data.bad_records import BadRecordError
from highnoon.data.records.record_template import RecordTemplate


def test_fields_stand_where_the_template_names_them() -> None:
    template = RecordTemplate("{title}\n\n{body} {{{n}}} {tags}")
    text, learned = template.render({"title": "T", "body": b"\xc3\xa9", "n": 3, "tags": ["é"]}, "a:1")
    assert (text, learned) == ('T\n\né {3} ["é"]', None)


def test_learned_fields_are_spans_that_join_where_they_touch() -> None:
    template = RecordTemplate("{q} {a}{b} {a}.", learned_fields=("a", "b"))
    text, learned = template.render({"q": "Q", "a": "AA", "b": "B"}, "a:1")
    assert learned is not None
    assert (text, [text[start:stop] for start, stop in learned]) == ("Q AAB AA.", ["AAB", "AA"])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"a": "x", "c": "y"}, "a:7: the template names the field `b`; the fields are a, c"),
        ({"a": "x", "b": None}, "a:7: the template names the field `b`; it is null"),
    ],
)
def test_a_missing_field_is_named_with_those_there_are(values: dict[str, str], found: str) -> None:
    with pytest.raises(BadRecordError, match=found):
        RecordTemplate("{a} {b}").render(values, "a:7")


@pytest.mark.parametrize(
    ("template", "learned", "reason"),
    [
        ("words", (), "must name fields"),
        ("{} {a}", (), "must name fields"),
        ("{a", (), "is not a valid template"),
        ("{a}", ("b",), "'b' is not"),
    ],
)
def test_a_template_that_is_none_is_an_error(template: str, learned: tuple[str, ...], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        RecordTemplate(template, learned)


@pytest.mark.parametrize("template", ["{id:05d}", "{text!r}"])
def test_a_field_is_taken_as_it_is(template: str) -> None:
    with pytest.raises(DataError, match="`template` takes plain field names, .* without `!` or `:`"):
        RecordTemplate(template)
