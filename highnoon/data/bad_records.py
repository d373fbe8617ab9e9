"""Records, lines and files that cannot be used: the first raises an error, or all are skipped and counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.data.document import DataError

# The key of locations in reports, which are saved in manifests.
LOCATIONS_KEY = "places"
KEPT_LOCATIONS = 20
_SHOWN_LOCATIONS = 3
HOW_TO_SKIP = (
    "to list all that cannot be read: `highnoon data check`; to skip it: skip_bad=True, in a recipe "
    "`skip_bad: true`, on the command line --skip-bad"
)


class BadRecordError(DataError):
    """A record, line or file that cannot be used.

    Args:
        message: What was expected, what was received, what to do.
        reason: A few words under which it is counted.
        location: `file:line`, `file record 17` or a file.
    """

    def __init__(self, message: str, reason: str, location: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.location = location


class BadRecords:
    """Raises bad records, or counts them by reason with the first 20 locations of each.

    Args:
        skip: Skip and count bad records instead of raising.

    Example:

    ```python
    from highnoon.data.bad_records import LOCATIONS_KEY, BadRecordError, BadRecords
    bad_records = BadRecords(skip=True)
    bad_records.take(BadRecordError("a.jsonl:3: this is not JSON", "not JSON", "a.jsonl:3"))
    reasons = {"not JSON": {"count": 1, LOCATIONS_KEY: ["a.jsonl:3"]}}
    assert bad_records.report() == {"left_out": 1, "reasons": reasons}
    ```
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self._counts: dict[str, int] = {}
        self._locations: dict[str, list[str]] = {}

    @property
    def total(self) -> int:
        """The number of records, lines and files that were skipped."""
        return sum(self._counts.values())

    def take(self, error: DataError, location: str = "") -> None:
        """Raises `error`, which then ends with how to skip, or counts it if bad records are skipped.

        Args:
            error: The error; a `BadRecordError` has its own reason and location.
            location: The location of any other error.
        """
        if not self.skip:
            # Readers within readers pass an error on, so it may say how already.
            if "--skip-bad" not in str(error):
                error.args = (f"{error}; {HOW_TO_SKIP}",)
            raise error
        if isinstance(error, BadRecordError):
            self.count(error.reason, error.location)
        else:
            self.count("unreadable file", location)

    def count(self, reason: str, location: str) -> None:
        """Counts something that is skipped without being an error, such as an empty document."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        locations = self._locations.setdefault(reason, [])
        if len(locations) < KEPT_LOCATIONS:
            locations.append(location)

    def add(self, report: Mapping[str, Any]) -> None:
        """Adds the counts of a report, which covers a later part of the same source."""
        for reason, found in report["reasons"].items():
            self._counts[reason] = self._counts.get(reason, 0) + found["count"]
            locations = self._locations.setdefault(reason, [])
            locations += found[LOCATIONS_KEY][: KEPT_LOCATIONS - len(locations)]

    def report(self) -> dict[str, Any]:
        """Returns `left_out`, the total, and `reasons`: for each, its `count` and its first locations."""
        return {
            "left_out": self.total,
            "reasons": {
                reason: {"count": count, LOCATIONS_KEY: list(self._locations[reason])}
                for reason, count in self._counts.items()
            },
        }


def left_out(source: Any) -> dict[str, Any]:
    """Returns the report of what the last reading of a source skipped, or of the source that it wraps.

    It is empty if nothing was skipped.
    """
    while source is not None:
        bad_records = getattr(source, "bad_records", None)
        if bad_records is not None:
            return bad_records.report() if bad_records.total else {}
        source = getattr(source, "source", None)
    return {}


def reason_for_nothing(source: Any) -> str:
    """Returns the end of an error about a source without documents: what was skipped, in parentheses."""
    report = left_out(source)
    return f" ({describe_left_out(report)})" if report else ""


def describe_left_out(report: Mapping[str, Any]) -> str:
    """Returns one readable line, such as `3 skipped: not JSON 2 (a.jsonl:3, a.jsonl:9), ...`."""
    reasons = []
    for reason, found in report["reasons"].items():
        more = ", ..." if found["count"] > _SHOWN_LOCATIONS else ""
        locations = ", ".join(found[LOCATIONS_KEY][:_SHOWN_LOCATIONS])
        reasons.append(f"{reason} {found['count']:,} ({locations}{more})")
    return f"{report['left_out']:,} skipped: {', '.join(reasons)}"
