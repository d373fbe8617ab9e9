"""Reads all of a source and collects everything in it that cannot be used."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from highnoon.data.bad_records import HOW_TO_SKIP, LOCATIONS_KEY, BadRecordError, BadRecords
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.reading.encodings import how_to_decode
from highnoon.data.records.record_source import RecordSource
from highnoon.data.sources.domain_folder import DomainFolder
from highnoon.data.sources.files import Files

# Texts that are remembered to find duplicates, about 100 MB.
MAX_TEXTS = 1_000_000

_LINE = re.compile(r"(?P<file>.+):(?P<line>\d+)")
_RECORD = re.compile(r"(?P<file>.+) (?:record|document) (?P<record>\d+)")


@dataclasses.dataclass(frozen=True)
class Problem:
    """A record, line or file that cannot be used, or is skipped.

    Args:
        kind: A few words under which it is counted.
        message: What is wrong, and what to do.
        file: The file or dataset.
        line: The line, None if it is not known.
        record: The record or document, None if it is not known.
        is_bad: Whether it is an error; what is skipped without being one, such as an empty document, is not.
    """

    kind: str
    message: str
    file: str
    line: int | None
    record: int | None
    is_bad: bool


@dataclasses.dataclass
class DataCheck:
    """What a check found.

    Args:
        name: The name of the source.
        documents: Documents that can be used.
        num_bytes: UTF-8 bytes of their texts.
        duplicates: Documents with the text of an earlier one, among the first million texts.
        longest: UTF-8 bytes of the longest document.
        longest_at: Where it is.
        counts: How many of each kind of problem there are.
        num_bad: How many of them are errors.
        encodings: For each file that is not UTF-8, what it looks like and what to do.
    """

    name: str
    documents: int = 0
    num_bytes: int = 0
    duplicates: int = 0
    longest: int = 0
    longest_at: str = ""
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    num_bad: int = 0
    encodings: dict[str, str] = dataclasses.field(default_factory=dict)


class _Collected(BadRecords):
    """Passes on each bad record instead of keeping the first few."""

    def __init__(self, listen: Callable[[str, str, str, bool], None]) -> None:
        super().__init__(skip=True)
        self._listen = listen
        self._num_passed_on = 0

    @property
    def total(self) -> int:
        """The number of records, lines and files that were skipped."""
        return self._num_passed_on

    def take(self, error: DataError, location: str = "") -> None:
        kind = "unreadable file"
        if isinstance(error, BadRecordError):
            kind, location = error.reason, error.location
        self._pass_on(kind, str(error).removesuffix(f"; {HOW_TO_SKIP}"), location, is_bad=True)

    def count(self, reason: str, location: str) -> None:
        self._pass_on(reason, f"{location}: {reason}", location, is_bad=False)

    def add(self, report: Mapping[str, Any]) -> None:
        for reason, found in report["reasons"].items():
            for location in found[LOCATIONS_KEY]:
                self.count(reason, location)

    def _pass_on(self, kind: str, message: str, location: str, *, is_bad: bool) -> None:
        self._num_passed_on += 1
        self._listen(kind, message, location, is_bad)


def check_data(source: DocumentSource, on_problem: Callable[[Problem], None]) -> DataCheck:
    """Reads all documents of a source and returns what they are; nothing ends the reading.

    Memory is bounded: problems are passed on and not kept.

    Args:
        source: A source that was opened with `skip_bad`.
        on_problem: Called with each problem, in the order of the data.

    Raises:
        DataError: The source reads no records, as prepared tokens.
    """
    if not isinstance(source, RecordSource):
        raise DataError(
            f"{source.name} is no text or records of yours; check the files that it was made from"
        )
    found = DataCheck(source.name)

    def listen(kind: str, message: str, location: str, is_bad: bool) -> None:
        match = _LINE.fullmatch(location) or _RECORD.fullmatch(location)
        parts = match.groupdict() if match else {}
        file = parts.get("file", location)
        line, record = (int(parts[key]) if parts.get(key) else None for key in ("line", "record"))
        found.counts[kind] = found.counts.get(kind, 0) + 1
        found.num_bad += is_bad
        if "UTF-8" in kind and file in paths and file not in found.encodings:
            found.encodings[file] = how_to_decode(paths[file])
        on_problem(Problem(kind, message, file, line, record, is_bad))

    paths = {str(path): path for path in _paths(source)}
    reading = copy.copy(source)
    reading.make_bad_records = lambda _: _Collected(listen)
    texts: set[bytes] = set()
    for document in reading.documents():
        data = document.text.encode()
        found.documents += 1
        found.num_bytes += len(data)
        if len(data) > found.longest:
            found.longest, found.longest_at = len(data), f"{document.source} document {document.id}"
        key = hashlib.blake2b(data, digest_size=8).digest()
        if key in texts:
            found.duplicates += 1
        elif len(texts) < MAX_TEXTS:
            texts.add(key)
    return found


def _paths(source: RecordSource) -> list[Any]:
    if isinstance(source, DomainFolder):
        return [path for part in source.parts for path in part.paths]
    return list(source.paths) if isinstance(source, Files) else []
