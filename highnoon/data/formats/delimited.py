"""Comma and tab separated values, whose first row names the fields."""

from __future__ import annotations

import csv
import functools
from collections import deque
from collections.abc import Iterator

from highnoon.data.bad_rows import BadRowError, BadRows
from highnoon.data.formats.file_row import FileRow, Reader
from highnoon.data.lines import raw_lines
from highnoon.data.read_options import ReadOptions
from highnoon.data.remote import FilePath


def read_delimited(path: FilePath, options: ReadOptions, bad: BadRows,
                   delimiter: str = ",") -> Iterator[FileRow]:
    """Yields the rows of a file of separated values, every value a text.

    A value in double quotes may hold the delimiter and line ends; a quote within it is doubled. After a row
    whose quotes do not close, reading goes on at the line after its first.

    Raises:
        BadRowError: a name is empty or there twice, or a line is too long; or, unless bad rows are skipped, a
            row has quotes that do not close, another number of values, or bytes that are not UTF-8.
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
        elif len(values) != len(names):
            bad.take(BadRowError(f"{place}: expected {len(names)} values, as the first row has names; "
                                 f"received {len(values)}; repair the row", "other number of values", place))
        else:
            yield FileRow(dict(zip(names, values, strict=True)), place, number)


read_csv: Reader = read_delimited
read_tsv: Reader = functools.partial(read_delimited, delimiter="\t")


class _Table:
    """Rows of a file; the lines of the row being read are kept, to go back to where it does not close."""

    def __init__(self, path: FilePath, max_row_bytes: int, delimiter: str) -> None:
        self._path = path
        self._max_row_bytes = max_row_bytes
        self._delimiter = delimiter
        # A line that is too long ends the file: what it belongs to cannot be told.
        self._file = raw_lines(path, BadRows(), max_row_bytes)
        self._returned: deque[tuple[int, str]] = deque()
        self._held: list[tuple[int, str]] = []
        self._held_bytes = 0
        self._rows = self._reader()

    def next_row(self, bad: BadRows) -> tuple[int, list[str]] | None:
        """Returns the line where the next row begins, and its values; None at the end."""
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
                if raw is None:
                    return
                # Bytes that are no UTF-8 pass as lone surrogates and are found in the row they belong to.
                number, line = raw[0], raw[2].decode("utf-8", "surrogateescape")
            self._held.append((number, line))
            self._held_bytes += len(line)
            if self._held_bytes > self._max_row_bytes:
                raise csv.Error(f"the row is longer than max_line_bytes={self._max_row_bytes:,}")
            yield line

    def _require_utf8(self, values: list[str]) -> None:
        for value in values:
            if not value.isascii() and any("\udc80" <= character <= "\udcff" for character in value):
                place = f"{self._path}:{self._held[0][0]}"
                raise BadRowError(f"{place}: the row is not UTF-8; convert the file to UTF-8", "not UTF-8",
                                  place)

    def _named(self, error: csv.Error | BadRowError) -> BadRowError:
        if isinstance(error, BadRowError):
            return error
        place = f"{self._path}:{self._held[0][0] if self._held else 1}"
        return BadRowError(f"{place}: the row cannot be cut into values ({error}); check its quotes: a value "
                           f"with quotes or line ends stands in quotes, and those within it are doubled",
                           "bad quotes", place)


def _require_names(names: list[str], place: str) -> list[str]:
    doubled = sorted({name for name in names if names.count(name) > 1 or not name.strip()})
    if doubled:
        raise BadRowError(f"{place}: the first row must name each field once; "
                          f"{', '.join(map(repr, doubled))} is empty or there twice", "bad names", place)
    return names
