"""JSON files: a list of records, read as a stream, or one object."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.file_record import FileRecord
from highnoon.data.formats.json_record import require_record, too_deep
from highnoon.data.reading.encodings import how_to_decode
from highnoon.data.reading.remote import FilePath
from highnoon.data.reading.transcoded import open_utf8
from highnoon.data.records.read_options import ReadOptions
from highnoon.files.foreign import MAX_DEPTH

# Fields of an object in which published datasets have their list of records.
RECORD_LISTS = ("data", "rows", "records", "examples", "train")

_READ_CHARACTERS = 1 << 16
# A number, name or escape that is incomplete at the end of the text read so far is shorter than this.
_CUT_CHARACTERS = 16
_SPACE = re.compile(r"[ \t\r\n]*")


def read_json_file(path: FilePath, options: ReadOptions, bad: BadRecords) -> Iterator[FileRecord]:
    """Yields the records of a JSON file.

    - A list: each object in it is a record. The list is read as a stream, one record at a time.
    - An object with a list of objects in `data`, `rows`, `records`, `examples` or `train`: the objects of
      that list.
    - An object whose values are lists of equal length, none of them a conversation: columns, with one record
      per index.
    - Any other object: one record. Several consecutive objects, as in JSON lines, are one record each.

    Raises:
        BadRecordError: If the file is not JSON, or an object is longer than `max_line_bytes`; reading the
            file ends there. Unless bad records are skipped, also if an item of a list is not an object.
    """
    with open_utf8(path, options.encoding) as stream:
        records = _records(_Text(stream, path, options.max_line_bytes))
        for number, (value, may_be_deep) in enumerate(records, start=1):
            location = f"{path} record {number}"
            try:
                record = require_record(value, may_be_deep, location)
            except BadRecordError as error:
                bad.take(error)
                continue
            yield FileRecord(record, location, number)


# A parsed value, and whether it may be nested too deeply.
_Parsed = tuple[Any, bool]


class _Text:
    """The text of a file; only the part being parsed is in memory."""

    def __init__(self, stream: IO[bytes], path: FilePath, max_bytes: int) -> None:
        self._stream = stream
        self._path = path
        self._max_bytes = max_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._parser = json.JSONDecoder()
        self._held = ""
        self._start = 0
        self._is_whole = False

    def peek(self) -> str:
        """Returns the next character that is not white space, or "" at the end of the file."""
        while True:
            match = _SPACE.match(self._held, self._start)
            self._start = match.end() if match else self._start
            if self._start < len(self._held) or self._is_whole:
                return self._held[self._start : self._start + 1]
            self._read_more(_READ_CHARACTERS)

    def skip(self) -> None:
        """Skips the character that `peek` returned."""
        self._start += 1

    def parse(self) -> _Parsed:
        """Returns the value at the current position."""
        while True:
            try:
                value, stop = self._parser.raw_decode(self._held, self._start)
            except RecursionError:
                raise too_deep(
                    ValueError(f"nests lists or objects more than {MAX_DEPTH} deep"), str(self._path)
                ) from None
            except ValueError as error:
                if self._is_whole or not self._may_be_cut(error):
                    raise self.damage(str(error)) from None
            else:
                # A number at the end of the text read so far may continue.
                if stop < len(self._held) or self._is_whole:
                    self._require_short(stop - self._start)
                    start, self._start = self._start, stop
                    brackets = self._held.count("[", start, stop) + self._held.count("{", start, stop)
                    return value, brackets > MAX_DEPTH
            held = len(self._held) - self._start
            self._require_short(held)
            # Read twice as much each time, so that a long record is parsed only a few times.
            self._read_more(max(held, _READ_CHARACTERS))

    def damage(self, reason: str) -> BadRecordError:
        """Returns the error for a file that is not JSON from the current position."""
        return BadRecordError(
            f"{self._path} is not valid JSON: {' '.join(reason.split())}; fix it, or write the records as "
            f"JSON lines (.jsonl)",
            "rest of a file that is not JSON",
            str(self._path),
        )

    def _require_short(self, size: int) -> None:
        if size > self._max_bytes:
            raise BadRecordError(
                f"{self._path}: a record is longer than max_line_bytes={self._max_bytes:,}; write "
                f"the records as a list or as JSON lines, or increase `max_line_bytes`",
                "rest of a file after a record that is too long",
                str(self._path),
            )

    def _may_be_cut(self, error: ValueError) -> bool:
        position = getattr(error, "pos", 0)
        return "Unterminated string" in str(error) or position > len(self._held) - _CUT_CHARACTERS

    def _read_more(self, size: int) -> None:
        data = self._stream.read(size)
        self._is_whole = not data
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise BadRecordError(
                f"{self._path} is not UTF-8 ({error.reason}); {how_to_decode(self._path)}",
                "rest of a file that is not UTF-8",
                str(self._path),
            ) from None
        self._held = self._held[self._start :] + text
        self._start = 0


def _records(text: _Text) -> Iterator[_Parsed]:
    first = text.peek()
    if first == "[":
        text.skip()
        yield from _items(text)
    elif first == "{":
        value = text.parse()
        if text.peek():
            yield value
            while text.peek():
                yield text.parse()
            return
        for record in _records_of(value[0]):
            yield record, value[1]
    elif first:
        raise text.damage("expected a list of records or an object")
    if text.peek():
        raise text.damage("expected the end of the file after the records")


def _items(text: _Text) -> Iterator[_Parsed]:
    """Yields the items of a list after its opening bracket."""
    if text.peek() == "]":
        text.skip()
        return
    while True:
        text.peek()
        yield text.parse()
        following = text.peek()
        if following not in (",", "]") or not following:
            raise text.damage("expected ',' or ']' after a record")
        text.skip()
        if following == "]":
            return


def _records_of(value: Mapping[str, Any]) -> Iterator[Any]:
    for name in RECORD_LISTS:
        items = value.get(name)
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
            return iter(items)
    if _is_table(value):
        return (dict(zip(value, record, strict=True)) for record in zip(*value.values(), strict=True))
    return iter([value])


def _is_table(value: Mapping[str, Any]) -> bool:
    """Returns whether all fields are columns: lists of equal length that are not conversations."""
    columns = list(value.values())
    if not columns or not all(isinstance(column, list) for column in columns):
        return False
    return len({len(column) for column in columns}) == 1 and not any(
        isinstance(part, dict) for column in columns for part in column[:1]
    )
