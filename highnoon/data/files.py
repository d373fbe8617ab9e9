"""Documents in text and JSON-lines files."""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence

from highnoon.data.document import DataError, Document, DocumentSource
from highnoon.data.opening import uncompressed_suffix
from highnoon.data.text_splits import TEXT_SPLITS, read_lines, split_text

GLOB_CHARACTERS = frozenset("*?[")
_HASH_BYTES = 1 << 20


class Files(DocumentSource):
    """Documents of text and JSON-lines files, in the order of their names.

    A file whose name ends in `.jsonl` (or `.jsonl.gz`, `.jsonl.zst`) holds one JSON object a line:
    `text` is required, `source` and `id` are kept. Any other file is text. Documents that are empty
    or blank are left out.

    Args:
        paths: A file, a glob (`**` goes into folders), or a list of them.
        split: How text files are cut into documents, see `split_text`.
        name: What reports call the source; None takes the first path's.
        domain: The domain of every document.

    Raises:
        DataError: a path is missing, a glob matches nothing, or `split` is unknown; while reading,
            an empty file, bytes that are not UTF-8, or a line that is no document.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import Files
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("one\\n\\ntwo\\n")
        assert [d.text for d in Files(f"{folder}/*.txt", split="line").documents()] == ["one", "two"]
    ```
    """

    def __init__(self, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
                 split: str = "auto", name: str | None = None, domain: str = "default") -> None:
        if split not in TEXT_SPLITS:
            raise DataError(f"`split` must be one of {', '.join(TEXT_SPLITS)}; received {split!r}")
        patterns = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not patterns:
            raise DataError("`paths` must name at least one file; received an empty list")
        self.paths = [path for pattern in patterns for path in expand(pattern)]
        self.split = split
        self.domain = domain
        self.name = name or os.fspath(patterns[0])

    def documents(self) -> Iterator[Document]:
        for path in self.paths:
            is_empty = True
            for document in read_documents(path, self.split, self.domain):
                is_empty = False
                yield document
            if is_empty:
                raise DataError(f"{path} holds no text; remove it or fill it")

    def _describe(self, digest: hashlib.blake2b) -> None:
        describe_files(digest, self.paths, self.split, self.domain)


def expand(pattern: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the files that a path or glob names, sorted.

    Raises:
        DataError: there are none.
    """
    path = pathlib.Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if GLOB_CHARACTERS & set(os.fspath(path)):
        matches = (pathlib.Path(match) for match in glob.glob(os.fspath(path), recursive=True))
        if files := sorted(match for match in matches if match.is_file()):
            return files
        raise DataError(f"no file matches {os.fspath(pattern)}; check the folder and the pattern")
    if path.is_dir():
        raise DataError(f"{path} is a folder; name its files, as in {path / '*.txt'}, or use `open_source`")
    raise DataError(f"no file at {os.fspath(pattern)}; check the path")


def read_documents(path: pathlib.Path, split: str, domain: str) -> Iterator[Document]:
    """Yields the documents of one text or JSON-lines file."""
    if uncompressed_suffix(path) == ".jsonl":
        return _jsonl_documents(path, domain)
    return (Document(text, path.name, str(place), domain)
            for place, text in enumerate(split_text(path, split)))


def _jsonl_documents(path: pathlib.Path, domain: str) -> Iterator[Document]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        values = _parse_line(line, f"{path}:{number}")
        if values["text"].strip():
            yield Document(values["text"], str(values.get("source", path.name)),
                           str(values.get("id", number)), domain)


def _parse_line(line: str, place: str) -> dict[str, str]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place}: expected a JSON object with `text`; this is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise DataError(f"{place}: expected a JSON object with `text`; received {type(values).__name__}")
    text = values.get("text")
    if not isinstance(text, str):
        found = f"`text` of type {type(text).__name__}" if "text" in values else f"keys {', '.join(values)}"
        raise DataError(f"{place}: expected a string `text`; received {found}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{place}: `text` has a lone surrogate at character {error.start}, which is no "
                        f"Unicode text; repair the line") from None
    return values


def describe_files(digest: hashlib.blake2b, paths: Sequence[pathlib.Path], split: str, domain: str) -> None:
    """Updates `digest` with the content of files and the way they are read."""
    for path in paths:
        form = "jsonl" if uncompressed_suffix(path) == ".jsonl" else f"text/{split}"
        digest.update(json.dumps([domain, form, _file_hash(path)]).encode())


def _file_hash(path: pathlib.Path) -> str:
    content = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as stream:
            for chunk in iter(functools.partial(stream.read, _HASH_BYTES), b""):
                content.update(chunk)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return f"{path.suffix}:{content.hexdigest()}"
