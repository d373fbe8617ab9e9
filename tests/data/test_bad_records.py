"""What becomes of records that cannot be used."""

from __future__ import annotations

import pytest

from highnoon.data import DataError, Files
from highnoon.data.bad_records import KEPT_LOCATIONS, BadRecordError, BadRecords


def test_the_first_bad_record_is_raised() -> None:
    error = BadRecordError("a:1: odd", "odd", "a:1")
    with pytest.raises(BadRecordError, match="a:1: odd") as raised:
        BadRecords().take(error)
    assert raised.value is error


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"\xff\xff\n", "UTF-8"),
        (b"{\n", "JSON"),
        (b"", "has no text"),
        (b'{"messages": [{"role": "x"}]}', "role"),
    ],
)
def test_an_error_ends_once_with_how_to_skip(content, expected, tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=expected) as raised:
        list(Files(path).documents())
    assert str(raised.value).endswith("`skip_bad: true`, on the command line --skip-bad")
    assert str(raised.value).count("highnoon data check") == str(raised.value).count("--skip-bad") == 1


def test_skipped_records_are_counted_and_the_first_locations_kept() -> None:
    bad = BadRecords(skip=True)
    for number in range(50):
        bad.take(BadRecordError("no matter", "odd", f"a:{number}"))
    bad.take(DataError("damaged"), "b.gz")
    report = bad.report()
    assert (report["left_out"], bad.total) == (51, 51)
    assert report["reasons"]["odd"] == {"count": 50, "places": [f"a:{n}" for n in range(KEPT_LOCATIONS)]}
    assert report["reasons"]["unreadable file"] == {"count": 1, "places": ["b.gz"]}


def test_what_is_only_counted_is_no_error() -> None:
    bad = BadRecords()
    bad.count("empty document", "a:1")
    assert bad.report()["reasons"] == {"empty document": {"count": 1, "places": ["a:1"]}}


def test_reports_of_parts_add_up() -> None:
    whole, one, other = BadRecords(skip=True), BadRecords(skip=True), BadRecords(skip=True)
    for number in range(30):
        location = f"a:{number}"
        for bad in (whole, one if number < 15 else other):
            bad.count("odd" if number % 5 else "even", location)
    added = BadRecords(skip=True)
    for part in (one, other):
        added.add(part.report())
    assert added.report() == whole.report()
