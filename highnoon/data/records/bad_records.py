"""What becomes of rows, lines and files that cannot be used: the first is an error, or all are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.data.document import DataError

KEPT_PLACES = 20
_SHOWN_PLACES = 3


class BadRowError(DataError):
    """A row, line or file that cannot be used.

    Args:
        message: What was expected, what came, what to do.
        reason: Its kind in a few words, under which it is counted.
        place: Where it is: `file:line`, `file row 17` or a file.
    """

    def __init__(self, message: str, reason: str, place: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.place = place


class BadRows:
    """Raises what is bad, or counts it by reason and keeps its first 20 places.

    Args:
        skip: Count instead of raising.

    Example:

    ```python
    from highnoon.data.records.bad_records import BadRowError, BadRows
    bad_rows = BadRows(skip=True)
    bad_rows.take(BadRowError("a.jsonl:3: this is not JSON", "not JSON", "a.jsonl:3"))
    reasons = {"not JSON": {"count": 1, "places": ["a.jsonl:3"]}}
    assert bad_rows.report() == {"left_out": 1, "reasons": reasons}
    ```
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    @property
    def total(self) -> int:
        """Rows, lines and files that were left out."""
        return sum(self._counts.values())

    def take(self, error: DataError, place: str = "") -> None:
        """Raises `error`, or counts it where bad rows are skipped.

        Args:
            error: What is wrong; a `BadRowError` knows its own reason and place.
            place: Where, for an error that does not say it.
        """
        if not self.skip:
            raise error
        if isinstance(error, BadRowError):
            self.count(error.reason, error.place)
        else:
            self.count("unreadable file", place)

    def count(self, reason: str, place: str) -> None:
        """Counts what is left out without being an error, as an empty document is."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        places = self._places.setdefault(reason, [])
        if len(places) < KEPT_PLACES:
            places.append(place)

    def add(self, report: Mapping[str, Any]) -> None:
        """Counts what the report of a later part of the same reading counts."""
        for reason, found in report["reasons"].items():
            self._counts[reason] = self._counts.get(reason, 0) + found["count"]
            places = self._places.setdefault(reason, [])
            places += found["places"][: KEPT_PLACES - len(places)]

    def report(self) -> dict[str, Any]:
        """Returns `left_out`, how many in all, and `reasons`: for each its `count` and first `places`."""
        return {
            "left_out": self.total,
            "reasons": {
                reason: {"count": count, "places": list(self._places[reason])}
                for reason, count in self._counts.items()
            },
        }


def left_out(source: Any) -> dict[str, Any]:
    """Returns what the last reading of a source, or of what it filters, left out; empty if nothing."""
    while source is not None:
        bad_rows = getattr(source, "bad_rows", None)
        if bad_rows is not None:
            return bad_rows.report() if bad_rows.total else {}
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
        more = ", ..." if found["count"] > _SHOWN_PLACES else ""
        reasons.append(f"{reason} {found['count']:,} ({', '.join(found['places'][:_SHOWN_PLACES])}{more})")
    return f"{report['left_out']:,} left out: {', '.join(reasons)}"
