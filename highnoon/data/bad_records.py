"""What becomes of records, lines and files that cannot be used: the first is an error, or all are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.data.document import DataError

KEPT_LOCATIONS = 20
_SHOWN_LOCATIONS = 3


class BadRecordError(DataError):
    """A record, line or file that cannot be used.

    Args:
        message: What was expected, what came, what to do.
        reason: Its kind in a few words, under which it is counted.
        location: Where it is: `file:line`, `file record 17` or a file.
    """

    def __init__(self, message: str, reason: str, location: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.location = location


class BadRecords:
    """Raises what is bad, or counts it by reason and keeps its first 20 places.

    Args:
        skip: Count instead of raising.

    Example:

    ```python
    from highnoon.data.bad_records import BadRecordError, BadRecords
    bad_records = BadRecords(skip=True)
    bad_records.take(BadRecordError("a.jsonl:3: this is not JSON", "not JSON", "a.jsonl:3"))
    reasons = {"not JSON": {"count": 1, "places": ["a.jsonl:3"]}}
    assert bad_records.report() == {"left_out": 1, "reasons": reasons}
    ```
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self._counts: dict[str, int] = {}
        self._locations: dict[str, list[str]] = {}

    @property
    def total(self) -> int:
        """Records, lines and files that were left out."""
        return sum(self._counts.values())

    def take(self, error: DataError, location: str = "") -> None:
        """Raises `error`, or counts it where bad records are skipped.

        Args:
            error: What is wrong; a `BadRecordError` knows its own reason and location.
            location: Where, for an error that does not say it.
        """
        if not self.skip:
            raise error
        if isinstance(error, BadRecordError):
            self.count(error.reason, error.location)
        else:
            self.count("unreadable file", location)

    def count(self, reason: str, location: str) -> None:
        """Counts what is left out without being an error, as an empty document is."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        places = self._locations.setdefault(reason, [])
        if len(places) < KEPT_LOCATIONS:
            places.append(location)

    def add(self, report: Mapping[str, Any]) -> None:
        """Counts what the report of a later part of the same reading counts."""
        for reason, found in report["reasons"].items():
            self._counts[reason] = self._counts.get(reason, 0) + found["count"]
            places = self._locations.setdefault(reason, [])
            places += found["places"][: KEPT_LOCATIONS - len(places)]

    def report(self) -> dict[str, Any]:
        """Returns `left_out`, how many in all, and `reasons`: for each its `count` and first `places`."""
        return {
            "left_out": self.total,
            "reasons": {
                reason: {"count": count, "places": list(self._locations[reason])}
                for reason, count in self._counts.items()
            },
        }


def left_out(source: Any) -> dict[str, Any]:
    """Returns what the last reading of a source, or of what it filters, left out; empty if nothing."""
    while source is not None:
        bad_records = getattr(source, "bad_records", None)
        if bad_records is not None:
            return bad_records.report() if bad_records.total else {}
        source = getattr(source, "source", None)
    return {}


def reason_for_nothing(source: Any) -> str:
    """Returns what an error adds where a source gave no document: what was left out, in brackets."""
    report = left_out(source)
    return f" ({describe_left_out(report)})" if report else ""


def describe_left_out(report: Mapping[str, Any]) -> str:
    """Returns one line for a person, such as `3 left out: not JSON 2 (a.jsonl:3, a.jsonl:9), ...`."""
    reasons = []
    for reason, found in report["reasons"].items():
        more = ", ..." if found["count"] > _SHOWN_LOCATIONS else ""
        reasons.append(f"{reason} {found['count']:,} ({', '.join(found['places'][:_SHOWN_LOCATIONS])}{more})")
    return f"{report['left_out']:,} left out: {', '.join(reasons)}"
