"""Detects files that are not plain text by their suffixes and first bytes."""

from __future__ import annotations

import pathlib

from highnoon.data.bad_records import BadRecordError
from highnoon.data.reading.encodings import UTF_8
from highnoon.data.reading.opening import uncompressed_name
from highnoon.data.reading.remote import FilePath, RemotePath
from highnoon.data.reading.transcoded import open_utf8

_HEAD_BYTES = 8 << 10

_MARKUP = "convert it to plain text, or copy it to a name that ends in .txt to train on the markup itself"
_REFUSED_SUFFIXES = {
    **dict.fromkeys((".html", ".htm", ".xhtml", ".xml", ".svg", ".rss", ".rtf"), ("markup", _MARKUP)),
    ".ipynb": (
        "a notebook",
        "convert it, for example with `jupyter nbconvert --to markdown`, or write its cells as records",
    ),
    **dict.fromkeys((".pkl", ".pickle"), ("a pickle", "write its content as .jsonl or .parquet")),
}

_ENCODED = 'pass encoding="utf-16" (--encoding utf-16), or convert it to UTF-8'
_EXTRACT = "extract its text first"
_UNPACK = "decompress it, or compress it as .gz or .zst"
_WRITE = "write its records as .jsonl or .parquet"
_FIRST_BYTES = (
    (b"%PDF-", "a PDF", _EXTRACT),
    (b"%!PS", "PostScript", _EXTRACT),
    (b"{\\rtf", "RTF", _EXTRACT),
    (b"\xd0\xcf\x11\xe0", "an Office document", _EXTRACT),
    (b"\x89PNG", "an image", _EXTRACT),
    (b"\xff\xd8\xff", "an image", _EXTRACT),
    (b"GIF8", "an image", _EXTRACT),
    (b"PK\x03\x04", "a ZIP archive or an Office document", "extract its files or its text"),
    (b"\x1f\x8b", "a gzip file", "let its name end in .gz"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "let its name end in .zst"),
    (b"\xfd7zXZ", "an xz file", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!\x1a", "a RAR archive", _UNPACK),
    *((b"BZh%d1AY&SY" % level, "a bzip2 file", _UNPACK) for level in range(1, 10)),
    *((b"\x80" + bytes([protocol]), "a pickle", _WRITE) for protocol in range(2, 6)),
    (b"PAR1", "Parquet", "let its name end in .parquet"),
    (b"ARROW1", "an Arrow file", _WRITE),
    (b"\xff\xfe", "UTF-16", _ENCODED),
    (b"\xfe\xff", "UTF-16", _ENCODED),
)


def require_text_file(path: FilePath, encoding: str = UTF_8) -> None:
    """Checks that a file may be plain text; for a remote file, only its name is checked.

    Args:
        path: The file.
        encoding: Its encoding, if it is not UTF-8.

    Raises:
        BadRecordError: If its name or its first bytes are of another format.
        DataError: If it cannot be read.
    """
    suffix = pathlib.PurePath(uncompressed_name(path)).suffix.lower()
    found = _REFUSED_SUFFIXES.get(suffix) or (
        None if isinstance(path, RemotePath) else _from_first_bytes(path, encoding)
    )
    if found is not None:
        raise BadRecordError(f"{path} is {found[0]}, not plain text; {found[1]}", "not plain text", str(path))


def is_text_file(path: FilePath, encoding: str = UTF_8) -> bool:
    """Returns whether `require_text_file` accepts a file."""
    try:
        require_text_file(path, encoding)
    except BadRecordError as error:
        return error.reason != "not plain text"
    return True


def _from_first_bytes(path: FilePath, encoding: str) -> tuple[str, str] | None:
    with open_utf8(path, encoding) as stream:
        head = stream.read(_HEAD_BYTES)
    for first, what, remedy in _FIRST_BYTES:
        if head.startswith(first):
            return what, remedy
    return ("a binary file (it has NUL bytes)", _EXTRACT) if b"\0" in head else None
