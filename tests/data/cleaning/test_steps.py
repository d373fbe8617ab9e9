"""The steps that look at one text: what each drops, and which bounds it takes."""

from __future__ import annotations

import sys

import pytest

from highnoon.data import DataError, Document
from highnoon.data.cleaning import AlphabetShare, ExactDuplicates, Language, Length, LetterShare


def verdict(step, text):
    return step.judge(Document(text))


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        (Length(3), "ab", "too short"),
        (Length(3), "abc", None),
        (Length(max_characters=3), "abcd", "too long"),
        (Length(max_characters=3), "abc", None),
        (Length(min_words=2), "one", "too short"),
        (Length(min_words=2), "one two", None),
        (Length(max_words=2), "one two three", "too long"),
        (Length(max_words=2), "one\ntwo", None),
    ],
)
def test_length_drops_beyond_its_bounds_only(step, text, expected):
    assert verdict(step, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ab 12", None), ("ab 123", "few letters"), ("éß \u3000 12", None), ("数 1", None), ("", None)],
)
def test_letter_fraction_is_of_characters_that_are_not_whitespace(text, expected):
    assert verdict(LetterShare(0.5), text) == expected


@pytest.mark.parametrize(
    ("alphabet", "text"),
    [
        ("latin", "Zürich, Łódź; 1984"),
        ("cyrillic", "Щука"),
        ("greek", "Ἀθήνα"),
        ("han", "漢字𠀋"),
        ("japanese", "カタカナとひらがなと漢字"),
        ("korean", "한국어 漢字"),
        ("arabic", "العربية"),
        ("devanagari", "हिन्दी"),
        ("hebrew", "עִבְרִית"),
        ("thai", "ภาษาไทย"),
        ("georgian", "ქართული"),
    ],
)
def test_each_alphabet_knows_its_letters_and_no_other(alphabet, text):
    assert verdict(AlphabetShare(alphabet, 1.0), text) is None
    other = "latin" if alphabet != "latin" else "greek"
    assert verdict(AlphabetShare(other, 0.01), text) == f"few {other} letters"


def test_alphabet_fraction_is_of_letters_only():
    assert verdict(AlphabetShare("latin", 0.75), "abc д 1234 !?") is None
    assert verdict(AlphabetShare("latin", 0.76), "abc д 1234 !?") == "few latin letters"
    assert verdict(AlphabetShare("latin", 1.0), "123") is None


def test_exact_duplicates_differ_in_case_and_whitespace_only():
    judge = ExactDuplicates().start()
    found = [judge(Document(text)) for text in ("One two", "one\n TWO ", "one, two", "STRASSE", "straße")]
    assert found == [None, "duplicate", None, None, "duplicate"]
    assert ExactDuplicates().start()(Document("One two")) is None


def test_language_keeps_the_languages_asked_for():
    pytest.importorskip("py3langid")
    step = Language(("en", "fr"))
    assert verdict(step, "The house stands at the end of the long street.") is None
    assert verdict(step, "La maison se trouve au bout de la longue rue.") is None
    assert verdict(step, "Дом стоит в конце длинной улицы.") == "in ru"
    assert verdict(Language(), "The house") == "language unclear"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Length(-1), "`min_characters` must not be negative; received -1"),
        (lambda: Length(9, 5), "`max_characters` must be at least min_characters=9; received 5"),
        (lambda: Length(max_words="9"), "`max_words` must be a whole number"),
        (lambda: LetterShare(2), r"`least` must be in \[0, 1\]; received 2"),
        (lambda: LetterShare("1e-3"), r"`least` must be a number; received '1e-3'"),
        (lambda: AlphabetShare("latn"), "there is no alphabet `latn`; did you mean `latin`"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_names_it(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_a_language_that_is_not_known_is_an_error():
    pytest.importorskip("py3langid")
    with pytest.raises(DataError, match="`languages` has no 'english'; known: .*en"):
        Language("english")


def test_a_missing_library_is_an_error_that_names_the_extra(monkeypatch):
    from highnoon.data.cleaning import language

    language._classifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(ImportError, match=r"pip install highnoon\[clean\]"):
        Language()
