"""Comma and tab separated values with a header that names the fields."""

from __future__ import annotations

import collections
import csv
import functools
import warnings
from collections.abc import Iterator

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.document import DataError
from highnoon.data.formats.file_record import FileRecord, Reader
from highnoon.data.reading.encodings import how_to_decode
from highnoon.data.reading.lines import raw_lines
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_values import shown_names

# Maximum number of names in the header.
MAX_COLUMNS = 10_000

# What programs in countries with decimal commas write, and tables that are called CSV.
_OTHER_DELIMITERS = (";", "\t")

# Spellings of a missing number.
_NOT_A_NUMBER = frozenset({"NaN", "nan"})


def read_delimited(
    path: FilePath, options: ReadOptions, bad: BadRecords, delimiter: str = ","
) -> Iterator[FileRecord]:
    """Yields the records of a file of separated values; every value is a string, `NaN` and `nan` are null.

    A first column without a name is skipped, with a warning: it is the index that pandas writes. If the
    header has no comma but semicolons or tabs, these separate the values, unless it is the `text_field`.

    A value in double quotes may contain the delimiter and line ends; a quote in it is doubled. After a record
    whose quotes do not close, or with a line that is too long, reading continues at the line after the first
    line of that record.

    Raises:
        BadRecordError: If another name is empty or duplicate, there are more than 10,000 names, or the header
            is too long; or, unless bad records are skipped, if a record has a line that is too long, quotes
            that do not close, another number of values, or bytes that are not UTF-8.
    """
    # The library's limit of 128 KiB per value is a setting of the process; it is only increased here.
    csv.field_size_limit(max(csv.field_size_limit(), options.max_line_bytes))
    table = _Table(path, options, _delimiter(path, options, delimiter))
    names: list[str] | None = None
    while (record := table.next_record(BadRecords() if names is None else bad)) is not None:
        number, values = record
        location = f"{path}:{number}"
        if names is None:
            names = _require_names(values, location)
            first = 0 if names[0] else 1
            if first:
                warnings.warn(
                    f"{path}: the first column has no name, as the index that pandas writes; it is skipped",
                    stacklevel=2,
                )
        elif len(values) != len(names):
            bad.take(
                BadRecordError(
                    f"{location}: expected {len(names)} values, one for each name in the header; received "
                    f"{len(values)}; fix the record",
                    "other number of values",
                    location,
                )
            )
        else:
            cells = (None if value in _NOT_A_NUMBER else value for value in values[first:])
            yield FileRecord(dict(zip(names[first:], cells, strict=True)), location, number)


read_csv: Reader = read_delimited
read_tsv: Reader = functools.partial(read_delimited, delimiter="\t")


def _delimiter(path: FilePath, options: ReadOptions, delimiter: str) -> str:
    """Returns what separates the values of a file, by its header."""
    if delimiter != ",":
        return delimiter
    lines = raw_lines(path, BadRecords(skip=True), options.max_line_bytes, options.encoding)
    header = next(lines, (0, 0, b""))[2].decode("utf-8", "replace").rstrip("\r\n")
    if "," in header or header == options.text_field:
        return delimiter
    return max(_OTHER_DELIMITERS, key=header.count) if any(map(header.count, _OTHER_DELIMITERS)) else ","


class _Deferred(BadRecords):
    """Stores errors of lines until the record that they belong to is known."""

    def __init__(self) -> None:
        super().__init__(skip=True)
        self.errors: list[DataError] = []

    def take(self, error: DataError, location: str = "") -> None:
        self.errors.append(error)


class _Table:
    """Records of a file; stores the lines of the current record to reread them if its quotes do not close."""

    def __init__(self, path: FilePath, options: ReadOptions, delimiter: str) -> None:
        self._path = path
        self._max_record_bytes = options.max_line_bytes
        self._delimiter = delimiter
        self._bad = BadRecords()
        self._long_lines = _Deferred()
        self._file = raw_lines(path, self._long_lines, options.max_line_bytes, options.encoding)
        self._returned: collections.deque[tuple[int, str]] = collections.deque()
        self._held: list[tuple[int, str]] = []
        self._held_bytes = 0
        self._records = self._reader()

    def next_record(self, bad: BadRecords) -> tuple[int, list[str]] | None:
        """Returns the first line number of the next record and its values; None at the end."""
        self._bad = bad
        while True:
            self._held, self._held_bytes = [], 0
            try:
                values = next(self._records, None)
                if values is None:
                    return None
                if values:
                    self._require_utf8(values)
                    return self._held[0][0], values
            except (csv.Error, BadRecordError) as error:
                bad.take(self._named(error))
                self._returned.extendleft(reversed(self._held[1:] if isinstance(error, csv.Error) else []))
                self._records = self._reader()

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines(), strict=True, delimiter=self._delimiter)

    def _lines(self) -> Iterator[str]:
        while True:
            if self._returned:
                number, line = self._returned.popleft()
            else:
                raw = next(self._file, None)
                if self._long_lines.errors:
                    self._skip_long_lines(raw)
                    continue
                if raw is None:
                    return
                number, line = _numbered(raw)
            self._held.append((number, line))
            self._held_bytes += len(line)
            if self._held_bytes > self._max_record_bytes:
                raise csv.Error(f"the record is longer than max_line_bytes={self._max_record_bytes:,}")
            yield line

    def _skip_long_lines(self, following: tuple[int, int, bytes] | None) -> None:
        """Counts lines that are too long; the record that they interrupt, if any, is bad."""
        if following is not None:
            self._returned.append(_numbered(following))
        errors, self._long_lines.errors = self._long_lines.errors, []
        for error in errors:
            self._bad.take(error)
        if self._held:
            raise csv.Error("a line of it is too long")

    def _require_utf8(self, values: list[str]) -> None:
        for value in values:
            if not value.isascii() and any("\udc80" <= character <= "\udcff" for character in value):
                location = f"{self._path}:{self._held[0][0]}"
                help_ = "" if self._bad.skip else f"; {how_to_decode(self._path)}"
                raise BadRecordError(f"{location}: the record is not UTF-8{help_}", "not UTF-8", location)

    def _named(self, error: csv.Error | BadRecordError) -> BadRecordError:
        if isinstance(error, BadRecordError):
            return error
        location = f"{self._path}:{self._held[0][0] if self._held else 1}"
        return BadRecordError(
            f"{location}: the record cannot be split into values ({error}); check its quotes: a value with "
            f"quotes or line ends must be quoted, and quotes in it doubled",
            "bad quotes",
            location,
        )


def _numbered(raw: tuple[int, int, bytes]) -> tuple[int, str]:
    """Returns the number and text of a line; bytes that are not UTF-8 become lone surrogates."""
    return raw[0], raw[2].decode("utf-8", "surrogateescape")


def _require_names(names: list[str], location: str) -> list[str]:
    if len(names) > MAX_COLUMNS:
        raise BadRecordError(
            f"{location}: the header must name at most {MAX_COLUMNS:,} fields; received {len(names):,}; keep "
            f"only the columns that are needed",
            "bad names",
            location,
        )
    # The first may be empty where others follow.
    counts = collections.Counter(names if names[0] or len(names) == 1 else names[1:])
    doubled = sorted(name for name, count in counts.items() if count > 1 or not name.strip())
    if doubled:
        raise BadRecordError(
            f"{location}: the header must name each field once; {shown_names(map(repr, doubled))} is empty "
            f"or duplicate",
            "bad names",
            location,
        )
    return names
