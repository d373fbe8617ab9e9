"""Documents from files of text and of records."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.document import DataError, Document, SourceNotFoundError
from highnoon.data.formats.by_name import format_of, reader_of
from highnoon.data.formats.not_text import is_text_file, require_text_file
from highnoon.data.reading.remote import FilePath, RemotePath, expand_remote, file_version, is_remote
from highnoon.data.reading.text_splits import TEXT_SPLITS, has_long_line, split_text
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_source import Convert, Record, RecordSource
from highnoon.data.sources.changed_reading import is_read_otherwise
from highnoon.data.sources.glob_files import glob_files
from highnoon.data.sources.more_records import holds_more_records
from highnoon.files.expand_home import expand_home

GLOB_CHARACTERS = frozenset("*?[")
_HASH_BYTES = 1 << 20

# Changes when skipping bad records of the same files gives other documents.
_SKIPPING_VERSION = b"skipping 2"

# Reasons counted if a bad line ends the reading of its file.
_REASONS_OF_THE_REST = {
    "not UTF-8": "rest of a file that is not UTF-8",
    "line too long": "rest of a file after a line that is too long",
    "NUL character": "rest of a file after a NUL character",
}

# Marks files whose documents changed when fields were first chosen by their content.
_BY_CONTENT = b"fields by content"

# Marks files with records that were bad, and skipped, before numbers and tool calls were read, or with tools.
_MORE_RECORDS = b"numbers and tools"

T = TypeVar("T")


class Files(RecordSource):
    """Documents from files of text and of records, in the order of the file names.

    The suffix determines the format: `.jsonl`, `.json`, `.csv`, `.tsv`, `.parquet`, `.tfrecord` and
    `.array_record` files have records, whose `source` and `id` become those of the documents; any other file
    is text. Each may be compressed (`.gz`, `.zst`). Empty or blank documents are skipped and counted in
    `bad_records`.

    Args:
        paths: A file, a glob (`**` matches folders at any depth), a URL that fsspec opens, or a list of them.
        split: How text files are split into documents, see `split_text`.
        name: The name of the source in reports; None uses the first path.
        domain: The domain of all documents.
        options: How records become documents, and what happens to bad ones.

    Raises:
        ImportError: If an extra that a URL needs is not installed.
        DataError: If a path is missing, a glob matches nothing, or `split` is unknown; while reading, unless
            bad records are skipped, if a file is empty or not UTF-8, or a record is not a document.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import Files
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("one\\n\\ntwo\\n")
        assert [d.text for d in Files(f"{folder}/*.txt", split="line").documents()] == ["one", "two"]
    ```
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        split: str = "auto",
        name: str | None = None,
        domain: str = "default",
        options: ReadOptions | None = None,
    ) -> None:
        if split not in TEXT_SPLITS:
            raise DataError(f"`split` must be one of {', '.join(TEXT_SPLITS)}; received {split!r}")
        super().__init__(options)
        patterns = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not patterns:
            raise DataError("`paths` must name at least one file; received an empty list")
        self.paths: list[FilePath] = [path for pattern in patterns for path in expand(pattern)]
        self.split = split
        self.domain = domain
        self.name = name or os.fspath(patterns[0])

    def _read(self, bad: BadRecords, convert: Convert[T]) -> Iterator[T]:
        for path in self.paths:
            is_empty, before = True, bad.total
            try:
                for record in self._records(path, bad):
                    item = convert(record, bad)
                    if item is not None:
                        is_empty = False
                        yield item
                if is_empty and (bad.total == before or not bad.skip):
                    raise BadRecordError(f"{path} has no text; remove it or fill it", "empty file", str(path))
            except DataError as error:
                bad.take(_of_the_rest(error), str(path))

    def _records(self, path: FilePath, bad: BadRecords) -> Iterator[Record | Document]:
        reader = reader_of(path)
        if reader is None:
            encoding = self.options.encoding
            require_text_file(path, encoding)
            texts = split_text(path, self.split, bad, self.options.max_line_bytes, encoding)
            return (
                Document(text, path.name, str(index), self.domain, location=f"{path} document {index}")
                for index, text in enumerate(texts)
            )
        return (
            Record(values, location, str(number), path.name, self.domain, str(path))
            for values, location, number in reader(path, self.options, bad)
        )

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self.options.describe().encode())
        if self.options.skip_bad:
            digest.update(_SKIPPING_VERSION)
        for path in self.paths:
            form = format_of(path) if reader_of(path) else self._text_form(path)
            digest.update(json.dumps([self.domain, form, self._content_key(path)]).encode())
            if reader_of(path) and self._is_read_otherwise(path):
                digest.update(_BY_CONTENT)
            if reader_of(path) and self._may_hold_more(path):
                digest.update(_MORE_RECORDS)

    def _text_form(self, path: FilePath) -> str:
        """Returns how a text file is split, or that it is refused, for the fingerprint."""
        try:
            if not is_text_file(path, self.options.encoding):
                return "not text"
            limit, encoding = self.options.max_line_bytes, self.options.encoding
            # Without `skip_bad`, such a file was an error.
            is_cut = self.split == "auto" and self.options.skip_bad and has_long_line(path, limit, encoding)
            return f"text/{self.split}{'/long lines' if is_cut else ''}"
        except DataError:
            # A file that cannot be opened raises an error when its content is hashed.
            return f"text/{self.split}"

    def _may_hold_more(self, path: FilePath) -> bool:
        try:
            return holds_more_records(path, self.options)
        except DataError:
            return False

    def _is_read_otherwise(self, path: FilePath) -> bool:
        try:
            return is_read_otherwise(path, self.options)
        except DataError:
            # A file that cannot be read to its end raises or is counted when it is read.
            return False

    def _content_key(self, path: FilePath) -> str:
        try:
            return _content_key(path)
        except OSError as error:
            if not self.options.skip_bad:
                raise DataError(f"cannot read {path}: {error.strerror or error}") from error
            return f"unreadable:{path}"


def expand(pattern: str | os.PathLike[str]) -> Sequence[FilePath]:
    """Returns the files that a path, a glob or a URL matches, sorted.

    Raises:
        DataError: If there are none.
    """
    if is_remote(pattern):
        return expand_remote(os.fspath(pattern))
    path = expand_home(pattern)
    if path.is_file():
        return [path]
    if GLOB_CHARACTERS & set(os.fspath(path)):
        if files := glob_files(os.fspath(path)):
            return files
        raise SourceNotFoundError(f"no file matches {os.fspath(pattern)}; check the folder and the pattern")
    if path.is_dir():
        raise DataError(f"{path} is a folder; name its files, as in {path / '*.txt'}, or use `open_source`")
    raise SourceNotFoundError(f"no file at {os.fspath(pattern)}; check the path")


def _of_the_rest(error: DataError) -> DataError:
    """Returns the error with a reason that says that the rest of the file is skipped too."""
    if not isinstance(error, BadRecordError) or error.reason not in _REASONS_OF_THE_REST:
        return error
    renamed = BadRecordError(str(error), _REASONS_OF_THE_REST[error.reason], error.location)
    renamed.__cause__ = error.__cause__
    return renamed


def _content_key(path: FilePath) -> str:
    """Returns a hash of a local file's bytes; for a remote file, the metadata of its service."""
    suffix = pathlib.PurePath(path.name).suffix
    if isinstance(path, RemotePath):
        return f"{suffix}:remote:{file_version(path)}"
    content = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        for chunk in iter(functools.partial(stream.read, _HASH_BYTES), b""):
            content.update(chunk)
    return f"{suffix}:{content.hexdigest()}"
