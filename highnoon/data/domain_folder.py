"""A folder of domains: one sub-folder a domain."""

from __future__ import annotations

import difflib
import hashlib
import os
import pathlib
import warnings
from collections.abc import Iterator, Sequence

from highnoon.data.document import DataError, Document, DocumentSource
from highnoon.data.files import Files
from highnoon.data.opening import uncompressed_suffix

_SUFFIXES = (".jsonl", ".txt")


class DomainFolder(DocumentSource):
    """Documents of `root/<domain>/*.jsonl` and `*.txt` (`.gz`, `.zst`); a folder's name is the domain.

    Domains and files are read in the order of their names. Files directly in `root` are the domain
    `"default"`, with a warning.

    Args:
        root: The folder.
        domains: Names of the sub-folders to read; None reads all.
        split: How text files are cut into documents, see `split_text`.
        name: What reports call the source; None takes the folder's.

    Raises:
        DataError: `root` is no folder, holds no such file, or lacks one of `domains`.
    """

    def __init__(self, root: str | os.PathLike[str], domains: Sequence[str] | None = None,
                 split: str = "auto", name: str | None = None) -> None:
        self.root = pathlib.Path(root).expanduser()
        if not self.root.is_dir():
            raise DataError(f"no folder at {self.root}; check the path")
        self.name = name or self.root.name or os.fspath(self.root)
        found = {folder.name: files for folder in sorted(self.root.iterdir())
                 if folder.is_dir() and (files := _data_files(folder))}
        if domains is not None:
            found = {name: found[_require_domain(name, found, self.root)] for name in sorted(set(domains))}
        elif direct := _data_files(self.root):
            warnings.warn(f"{len(direct)} files directly in {self.root} are read as the domain `default`; "
                          f"move them into a sub-folder named after their domain", stacklevel=2)
            found["default"] = [*direct, *found.get("default", [])]
        if not found:
            raise DataError(f"{self.root} holds no *.jsonl or *.txt, neither itself nor in its sub-folders")
        self._parts = [Files(files, split, domain, domain) for domain, files in found.items()]

    @property
    def domains(self) -> list[str]:
        """Names of the domains, in the order they are read."""
        return [part.domain for part in self._parts]

    def documents(self) -> Iterator[Document]:
        for part in self._parts:
            yield from part.documents()

    def _describe(self, digest: hashlib.blake2b) -> None:
        for part in self._parts:
            part._describe(digest)


def _data_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.iterdir()
                  if path.is_file() and not path.name.startswith(".")
                  and uncompressed_suffix(path) in _SUFFIXES)


def _require_domain(name: str, found: dict[str, list[pathlib.Path]], root: pathlib.Path) -> str:
    if name in found:
        return name
    near = difflib.get_close_matches(name, found, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"domains there: {', '.join(found) or 'none'}"
    raise DataError(f"{root} has no domain `{name}`; {hint}")
