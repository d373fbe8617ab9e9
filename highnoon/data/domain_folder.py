"""A folder of domains: one sub-folder a domain."""

from __future__ import annotations

import difflib
import hashlib
import os
import pathlib
import warnings
from collections.abc import Iterator, Sequence
from typing import TypeVar

from highnoon.data.bad_rows import BadRows
from highnoon.data.document import DataError
from highnoon.data.files import Files
from highnoon.data.formats.by_name import DATA_SUFFIXES, format_of
from highnoon.data.read_options import ReadOptions
from highnoon.data.row_source import Convert, RowSource

T = TypeVar("T")


class DomainFolder(RowSource):
    """Documents of `root/<domain>/`: every file of rows and every `.txt`; a folder's name is the domain.

    Domains and files are read in the order of their names. Files directly in `root` are the domain
    `"default"`, with a warning; a sub-folder without data is an error, or counted where bad rows are skipped.

    Args:
        root: The folder.
        domains: Names of the sub-folders to read; None reads all.
        split: How text files are cut into documents, see `split_text`.
        name: What reports call the source; None takes the folder's.
        options: How rows become documents, and what is done with bad ones.

    Raises:
        DataError: `root` is no folder, cannot be listed, holds no such file, or lacks one of `domains`.
    """

    def __init__(self, root: str | os.PathLike[str], domains: Sequence[str] | None = None,
                 split: str = "auto", name: str | None = None, options: ReadOptions | None = None) -> None:
        super().__init__(options)
        self.root = pathlib.Path(root).expanduser()
        if not self.root.is_dir():
            raise DataError(f"no folder at {self.root}; check the path")
        self.name = name or self.root.name or os.fspath(self.root)
        found = self._files_of(domains)
        if not found:
            raise DataError(f"{self.root} holds no *{', *'.join(DATA_SUFFIXES)}, neither itself nor in its "
                            f"sub-folders")
        self._parts = [Files(files, split, domain, domain, self.options) for domain, files in found.items()]

    @property
    def domains(self) -> list[str]:
        """Names of the domains, in the order they are read."""
        return [part.domain for part in self._parts]

    @property
    def parts(self) -> list[Files]:
        """A source for each domain, named after it, in the order they are read."""
        return list(self._parts)

    def _files_of(self, domains: Sequence[str] | None) -> dict[str, list[pathlib.Path]]:
        """The files of each domain that is read; `empty_domains` gets the rest."""
        everything = {folder.name: _data_files(folder) for folder in _entries(self.root)
                      if folder.is_dir() and not folder.name.startswith(".")}
        found = {domain: files for domain, files in everything.items() if files}
        self.empty_domains = [domain for domain in everything if domains is None and domain not in found]
        if domains is not None:
            return {name: found[_require_domain(name, found, self.root)] for name in sorted(set(domains))}
        if direct := _data_files(self.root):
            warnings.warn(f"{len(direct)} files directly in {self.root} are read as the domain `default`; "
                          f"move them into a sub-folder named after their domain", stacklevel=3)
            found["default"] = [*direct, *found.get("default", [])]
        # Without any domain that has files, a sub-folder is no domain.
        if any(everything.values()) and self.empty_domains and not self.options.skip_bad:
            names = ", ".join(self.empty_domains)
            raise DataError(f"{self.root} has sub-folders without data: {names}; fill or remove them, "
                            f"choose `domains` (--domains), or leave them out with skip_bad (--skip-bad)")
        return found

    def _read(self, bad: BadRows, convert: Convert[T]) -> Iterator[T]:
        for domain in self.empty_domains:
            bad.count("domain without files", str(self.root / domain))
        for part in self._parts:
            yield from part._read(bad, convert)

    def _describe(self, digest: hashlib.blake2b) -> None:
        for part in self._parts:
            part._describe(digest)


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}") from error


def _data_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in _entries(folder)
            if path.is_file() and not path.name.startswith(".") and format_of(path) in DATA_SUFFIXES]


def _require_domain(name: str, found: dict[str, list[pathlib.Path]], root: pathlib.Path) -> str:
    if name in found:
        return name
    near = difflib.get_close_matches(name, found, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"domains there: {', '.join(found) or 'none'}"
    raise DataError(f"{root} has no domain `{name}`; {hint}")
