"""Comma and tab separated values, whose first row names the fields."""

from __future__ import annotations

import collections
import csv
import functools
from collections.abc import Iterator

from highnoon.data.document import DataError
from highnoon.data.formats.file_row import FileRow, Reader
from highnoon.data.reading.lines import raw_lines
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.bad_records import BadRowError, BadRows
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_values import shown_names

# Most names in the first row of a file.
MAX_COLUMNS = 10_000

# How writers of tables spell a missing number; an empty value needs no spelling.
_NOT_A_NUMBER = frozenset({"NaN", "nan"})


def read_delimited(
    path: FilePath, options: ReadOptions, bad: BadRows, delimiter: str = ","
) -> Iterator[FileRow]:
    """Yields the rows of a file of separated values, every value a text; `NaN` and `nan` are null.

    A first column without a name is left out: it is the index that pandas writes.

    A value in double quotes may hold the delimiter and line ends; a quote within it is doubled. After a row
    whose quotes do not close, reading goes on at the line after its first, and so it does after a row that
    is cut by a line too long.

    Raises:
        BadRowError: another name is empty, or one is there twice, there are more than 10,000 names, or the
            line of names is too long; or, unless bad rows are skipped, a row has a line too long, quotes that
            do not close, another number of values, or bytes that are not UTF-8.
    """
    # The library's own bound of 128 KiB a value is a setting of the process; it is only ever raised here.
    csv.field_size_limit(max(csv.field_size_limit(), options.max_line_bytes))
    table = _Table(path, options.max_line_bytes, delimiter)
    names: list[str] | None = None
    while (row := table.next_row(BadRows() if names is None else bad)) is not None:
        number, values = row
        place = f"{path}:{number}"
        if names is None:
            names = _require_names(values, place)
            first = 0 if names[0] else 1
        elif len(values) != len(names):
            bad.take(
                BadRowError(
                    f"{place}: expected {len(names)} values, as the first row has names; "
                    f"received {len(values)}; repair the row",
                    "other number of values",
                    place,
                )
            )
        else:
            cells = (None if value in _NOT_A_NUMBER else value for value in values[first:])
            yield FileRow(dict(zip(names[first:], cells, strict=True)), place, number)


read_csv: Reader = read_delimited
read_tsv: Reader = functools.partial(read_delimited, delimiter="\t")


class _Kept(BadRows):
    """Holds what is wrong with lines until the row is known that they belong to."""

    def __init__(self) -> None:
        super().__init__(skip=True)
        self.errors: list[DataError] = []

    def take(self, error: DataError, place: str = "") -> None:
        self.errors.append(error)


class _Table:
    """Rows of a file; the lines of the row being read are kept, to go back to where it does not close."""

    def __init__(self, path: FilePath, max_row_bytes: int, delimiter: str) -> None:
        self._path = path
        self._max_row_bytes = max_row_bytes
        self._delimiter = delimiter
        self._bad = BadRows()
        self._long_lines = _Kept()
        self._file = raw_lines(path, self._long_lines, max_row_bytes)
        self._returned: collections.deque[tuple[int, str]] = collections.deque()
        self._held: list[tuple[int, str]] = []
        self._held_bytes = 0
        self._rows = self._reader()

    def next_row(self, bad: BadRows) -> tuple[int, list[str]] | None:
        """Returns the line where the next row begins, and its values; None at the end."""
        self._bad = bad
        while True:
            self._held, self._held_bytes = [], 0
            try:
                values = next(self._rows, None)
                if values is None:
                    return None
                if values:
                    self._require_utf8(values)
                    return self._held[0][0], values
            except (csv.Error, BadRowError) as error:
                bad.take(self._named(error))
                self._returned.extendleft(reversed(self._held[1:] if isinstance(error, csv.Error) else []))
                self._rows = self._reader()

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines(), strict=True, delimiter=self._delimiter)

    def _lines(self) -> Iterator[str]:
        while True:
            if self._returned:
                number, line = self._returned.popleft()
            else:
                raw = next(self._file, None)
                if self._long_lines.errors:
                    self._pass_long_lines(raw)
                    continue
                if raw is None:
                    return
                number, line = _numbered(raw)
            self._held.append((number, line))
            self._held_bytes += len(line)
            if self._held_bytes > self._max_row_bytes:
                raise csv.Error(f"the row is longer than max_line_bytes={self._max_row_bytes:,}")
            yield line

    def _pass_long_lines(self, following: tuple[int, int, bytes] | None) -> None:
        """Counts lines too long; the row that they cut, if any, cannot be closed."""
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
                place = f"{self._path}:{self._held[0][0]}"
                raise BadRowError(
                    f"{place}: the row is not UTF-8; convert the file to UTF-8", "not UTF-8", place
                )

    def _named(self, error: csv.Error | BadRowError) -> BadRowError:
        if isinstance(error, BadRowError):
            return error
        place = f"{self._path}:{self._held[0][0] if self._held else 1}"
        return BadRowError(
            f"{place}: the row cannot be cut into values ({error}); check its quotes: a value "
            f"with quotes or line ends stands in quotes, and those within it are doubled",
            "bad quotes",
            place,
        )


def _numbered(raw: tuple[int, int, bytes]) -> tuple[int, str]:
    """Number and text of a line; bytes that are no UTF-8 are lone surrogates, found with their row."""
    return raw[0], raw[2].decode("utf-8", "surrogateescape")


def _require_names(names: list[str], place: str) -> list[str]:
    if len(names) > MAX_COLUMNS:
        raise BadRowError(
            f"{place}: the first row must name at most {MAX_COLUMNS:,} fields; received "
            f"{len(names):,}; keep the columns that are needed",
            "bad names",
            place,
        )
    # The first may be empty where others follow.
    counts = collections.Counter(names if names[0] or len(names) == 1 else names[1:])
    doubled = sorted(name for name, count in counts.items() if count > 1 or not name.strip())
    if doubled:
        raise BadRowError(
            f"{place}: the first row must name each field once; "
            f"{shown_names(map(repr, doubled))} is empty or there twice",
            "bad names",
            place,
        )
    return names
