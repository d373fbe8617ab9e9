"""Leaving out documents, and saying which."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from highnoon.data import DataError, DocumentSource, FilteredSource

MakeSource = Callable[..., DocumentSource]
TEXTS = ["A sentence.", "a  Sentence.\n", "no", "x" * 50, "12 34 56 78 9", "A sentence, more."]


def kept(source: FilteredSource) -> list[str]:
    return [document.text for document in source.documents()]


def test_each_bound_leaves_out_what_it_says(make_source: MakeSource) -> None:
    source = make_source(TEXTS)
    assert kept(FilteredSource(source)) == [TEXTS[0], *TEXTS[2:]]
    assert kept(FilteredSource(source, drop_duplicates=False)) == TEXTS
    assert kept(FilteredSource(source, min_characters=3)) == [TEXTS[0], *TEXTS[3:]]
    assert kept(FilteredSource(source, max_characters=49)) == [TEXTS[0], TEXTS[2], *TEXTS[4:]]
    assert kept(FilteredSource(source, min_letter_share=0.5)) == [TEXTS[0], TEXTS[2], TEXTS[3], TEXTS[5]]


def test_the_report_counts_every_document_once(make_source: MakeSource) -> None:
    source = FilteredSource(make_source(TEXTS), 3, 49, 0.5)
    expected = {"read": 6, "kept": 2, "duplicate": 1, "too short": 1, "too long": 1, "few letters": 1}
    assert source.report() == expected
    assert len(kept(source)) == 2
    assert source.report() == expected


def test_reading_twice_gives_the_same(make_source: MakeSource) -> None:
    source = FilteredSource(make_source(TEXTS))
    assert kept(source) == kept(source)


def test_the_fingerprint_is_of_the_source_and_the_bounds(make_source: MakeSource) -> None:
    prints = [
        FilteredSource(make_source(texts), **options).fingerprint()
        for texts, options in (
            (TEXTS, {}),
            (TEXTS[1:], {}),
            (TEXTS, {"min_characters": 2}),
            (TEXTS, {"max_characters": 99}),
            (TEXTS, {"min_letter_share": 0.1}),
            (TEXTS, {"drop_duplicates": False}),
        )
    ]
    assert len(set(prints)) == 6
    assert FilteredSource(make_source(TEXTS)).fingerprint() == prints[0]


def test_bounds_out_of_range_are_errors(make_source: MakeSource) -> None:
    with pytest.raises(DataError, match=r"`min_letter_share` must be in \[0, 1\]; received 2"):
        FilteredSource(make_source(TEXTS), min_letter_share=2)
    with pytest.raises(DataError, match="`min_letter_share` must be a number; received None"):
        FilteredSource(make_source(TEXTS), min_letter_share=None)
    with pytest.raises(DataError, match="at least min_characters=9; received 5"):
        FilteredSource(make_source(TEXTS), min_characters=9, max_characters=5)
