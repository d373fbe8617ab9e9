"""What identifies people is found, what looks like it is not, and spans move with the text."""

from __future__ import annotations

import pytest

from highnoon.data import DataError, Document
from highnoon.data.cleaning import PersonalData
from highnoon.data.cleaning.personal_data import replace_spans

# Numbers of these kinds that their standards, issuers or regulators publish as examples.
FOUND = [
    ("email", "ada@example.org"),
    ("email", "ada.lovelace+notes@mail.example.co.uk"),
    ("phone", "+44 20 7946 0958"),
    ("phone", "+1 (415) 555-0132"),
    ("phone", "+491701234567"),
    ("phone", "+49 (0)30 123456"),
    ("phone", "+49 170 1234567"),
    ("phone", "(415) 555-0132"),
    ("phone", "415-555-0132"),
    ("phone", "1-415-555-0132"),
    ("ip", "203.104.153.11"),
    ("ip", "8.8.200.8"),
    ("ip", "2a00:1450:4001:82a::200e"),
    ("card", "4111 1111 1111 1111"),
    ("card", "5555-5555-5555-4444"),
    ("card", "378282246310005"),
    ("card", "3782 822463 10005"),
    ("card", "6011111111111117"),
    ("iban", "GB29 NWBK 6016 1331 9268 19"),
    ("iban", "DE89370400440532013000"),
    ("iban", "FR14 2004 1010 0505 0001 3M02 606"),
    ("iban", "NO93 8601 1117 947"),
]
NOT_FOUND = [
    "version 1.2.3.4 and v10.0.190.1 and release 2.114.3.1",
    "Chrome/120.0.0.0 on Windows/10.0.120.1",
    "ISBN 978-0-306-40615-7",
    "ISBN-10: 0-306-40615-2",
    "isbn 9780306406157",
    "ISSN 0378-5955",
    "2024-01-31T12:30:45+01:00",
    "1990-1995, pp. 415-555",
    "12:30:45:59",
    "3.14159265358979323846",
    "127.0.0.1, 192.168.100.7, 10.0.0.255, 255.255.255.0 and 224.0.0.251",
    "8.8.100.0/24",
    "550e8400-e29b-41d4-a716-446655440000",
    "doi:10.1000/182.104.2001.3",
    "x = y+12345678901",
    "3 +49 170 20",
    "4111 1111 1111 1112",
    "1700000000000",
    "0000000000000000",
    "123-456-7890 is no number there",
    "git@github.com:org/project.git",
    "@property",
    "pkg@1.2.3",
    "a@b",
    "std::vector<int>::size",
    "dead::beef",
    "DE89370400440532013001",
    "AB12 CDEF 0123 4567",
    "call 0800 and then 12345678",
    "$1,234,567,890.00",
    "1 000 000 000",
    "+10000000",
    "Section 4.100.2.1",
    "sha1 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
    "20240131123045",
    "9999-9999-9999-9999",
    "see 4.10.2.1 and 1.2.3.4",
    "[12, 34, 56, 78, 90]",
    "6.02214076e+23",
    "+0200",
]


@pytest.mark.parametrize(("kind", "number"), FOUND)
@pytest.mark.parametrize("frame", ["{}", "It is {}, he said.", "({})", "a\n{}\nb"])
def test_each_kind_is_found_whole(kind, number, frame):
    text = frame.format(number)
    assert [(text[start:stop], found) for start, stop, found in PersonalData().find(text)] == [(number, kind)]


def test_a_number_after_the_word_for_telephone_is_found():
    verdict = PersonalData().judge(Document("Tel.: 030 1234567, Fax (0171) 123 45 67."))
    assert verdict.document.text == "Tel.: [PHONE], Fax [PHONE]."


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_it_is_left_alone(text):
    assert PersonalData().find(text) == []


def test_masking_names_the_kinds_and_keeps_the_rest():
    text = "Ada (ada@example.org, 415-555-0132) or bob@example.org"
    verdict = PersonalData(placeholder="<{kind}>").judge(Document(text, "letters", "7", "mail"))
    assert verdict.document == Document("Ada (<EMAIL>, <PHONE>) or <EMAIL>", "letters", "7", "mail")
    assert verdict.reasons == ("email", "phone")


def test_dropping_says_which_kind_came_first():
    assert PersonalData("drop").judge(Document("call 415-555-0132 or ada@example.org")) == "phone"
    assert PersonalData("drop", kinds=("iban",)).judge(Document("call 415-555-0132")) is None


@pytest.mark.parametrize(
    ("learned", "expected"),
    [
        (None, None),
        ((), ()),
        (((0, 2),), ((0, 2),)),  # before
        (((8, 10),), ((6, 8),)),  # after, to the end
        (((0, 10),), ((0, 8),)),  # around
        (((0, 4),), ((0, 5),)),  # ends within: the placeholder is learned
        (((4, 9),), ((2, 7),)),  # begins within
        (((4, 5),), ((2, 5),)),  # lies within
        (((0, 4), (5, 9)), ((0, 5), (5, 7))),  # two share the placeholder: the first has it
        (((0, 4), (5, 6)), ((0, 5),)),
        (((0, 2), (7, 10)), ((0, 2), (5, 8))),  # on both sides of it
    ],
)
def test_learned_spans_move_with_the_text(learned, expected):
    changed = replace_spans(Document("ab12345cde", learned=learned), [(2, 7, "[x]")])
    assert (changed.text, changed.supervised) == ("ab[x]cde", expected)


def test_spans_move_past_several_placeholders():
    text = "Q: ada@example.org? A: bob@example.org!"
    verdict = PersonalData().judge(Document(text, supervised=((20, 39),)))
    changed = verdict.document
    assert [changed.text[start:stop] for start, stop in changed.supervised] == ["A: [EMAIL]!"]


def test_an_unknown_option_is_an_error_with_the_nearest():
    with pytest.raises(DataError, match="`kinds` must be of email.*; received 'emial'; did you mean 'email'"):
        PersonalData(kinds=("emial",))
    with pytest.raises(DataError, match="`action` must be of mask, drop; received 'delete'"):
        PersonalData("delete")
    with pytest.raises(DataError, match="at least one of"):
        PersonalData(kinds=())


@pytest.mark.parametrize("placeholder", ["[{name}]", "[{}]", "{", "{kind.no}", 3])
def test_a_placeholder_that_cannot_be_filled_is_an_error(placeholder):
    with pytest.raises(DataError, match="`placeholder` must be text with no braces other than `{kind}`"):
        PersonalData(placeholder=placeholder)
