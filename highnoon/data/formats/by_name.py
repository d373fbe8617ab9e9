"""The reader of a file, selected by its suffix."""

from __future__ import annotations

import pathlib
import re

from highnoon.data.formats.array_record import read_array_record
from highnoon.data.formats.delimited import read_csv, read_tsv
from highnoon.data.formats.file_record import Reader
from highnoon.data.formats.json_file import read_json_file
from highnoon.data.formats.jsonl import read_jsonl
from highnoon.data.formats.parquet import read_parquet
from highnoon.data.formats.tfrecord import read_tfrecord
from highnoon.data.reading.opening import COMPRESSED_SUFFIXES, uncompressed_name
from highnoon.data.reading.remote import FilePath

READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".tfrecord": read_tfrecord,
    ".tfrecords": read_tfrecord,
    ".array_record": read_array_record,
    ".arrayrecord": read_array_record,
    ".json": read_json_file,
}

# Suffixes of a local copy that is opened by its bare name.
DATA_SUFFIXES = (".txt", *READERS)

# Text with another suffix than `.txt`.
TEXT_SUFFIXES = (".text", ".md", ".markdown", ".rst", ".adoc", ".asciidoc", ".org", ".tex")

# Files that are read from a folder; any other file that is named is text, unless `require_text_file` refuses
# it.
FOLDER_SUFFIXES = (*DATA_SUFFIXES, *TEXT_SUFFIXES)

# Every suffix that data may have, compressed or not.
ALL_SUFFIXES = tuple(suffix + packed for suffix in DATA_SUFFIXES for packed in ("", *COMPRESSED_SUFFIXES))

_SHARD = re.compile(r"-\d{5,}-of-\d{5,}$")


def format_of(path: FilePath) -> str:
    """Returns `.jsonl` for `a.jsonl.gz` and `A.JSONL`, `.tfrecord` for `a.tfrecord-00000-of-00002`."""
    return pathlib.PurePath(_SHARD.sub("", uncompressed_name(path))).suffix.lower()


def reader_of(path: FilePath) -> Reader | None:
    """Returns the reader of a file of records, or None for text."""
    return READERS.get(format_of(path))
