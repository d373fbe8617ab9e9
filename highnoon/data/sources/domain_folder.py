"""A folder with one subfolder per domain."""

from __future__ import annotations

import hashlib
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from highnoon.data.bad_records import BadRecords
from highnoon.data.document import DataError
from highnoon.data.formats.by_name import FOLDER_SUFFIXES
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_source import Convert, RecordSource
from highnoon.data.sources.files import Files
from highnoon.data.sources.folder_files import (
    NO_RECORDS,
    OWN_OUTPUT,
    FolderFiles,
    describe_files_left_out,
    find_files,
    is_own_output,
    visible_entries,
)
from highnoon.files.expand_home import expand_home
from highnoon.files.nearest_name import suggestion

DEFAULT = "default"
"""The domain of files directly in the folder."""
T = TypeVar("T")


class DomainFolder(RecordSource):
    """Documents of `root/<domain>/`: all files of records and of text; the name of the subfolder is the
    domain.

    Text files are `.txt`, `.text`, `.md`, `.markdown`, `.rst`, `.adoc`, `.asciidoc`, `.org` and `.tex`.
    Folders in a domain are read too. Domains and files are read in the order of their names. Files directly
    in `root` have the domain `"default"`, and a warning if there are domains too. A subfolder
    without data is an error, or counted if bad records are skipped. Skipped are other files, links to folders
    in a domain, folders that a run or a preparation wrote, and `.json` files whose first record has no known
    field, such as configurations: one warning says how many of which kind, and `bad_records` counts them.
    Hidden files and folders are ignored.

    Args:
        root: The folder.
        domains: Names of the subfolders to read; None reads all.
        split: How text files are split into documents, see `split_text`.
        name: The name of the source in reports; None uses the name of the folder.
        options: How records become documents, and what happens to bad ones.

    Raises:
        DataError: If `root` is not a folder, cannot be listed, has no such file, or lacks one of `domains`.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        domains: Sequence[str] | None = None,
        split: str = "auto",
        name: str | None = None,
        options: ReadOptions | None = None,
    ) -> None:
        super().__init__(options)
        self.root = expand_home(root)
        if not self.root.is_dir():
            raise DataError(f"no folder at {self.root}; check the path")
        self.name = name or self.root.name or os.fspath(self.root)
        self.files_left_out = BadRecords(skip=True)
        self.empty_domains: list[str] = []
        found = self._files_of(domains)
        there = describe_files_left_out(self.files_left_out)
        if not found:
            is_unnamed = NO_RECORDS in self.files_left_out.report()["reasons"]
            hint = "; name the field of the text with `text_field`, or use `template`" if is_unnamed else ""
            raise DataError(
                f"{self.root} and its subfolders have no *{', *'.join(FOLDER_SUFFIXES)}; found "
                f"{there or 'nothing'}{hint}"
            )
        if there:
            warnings.warn(
                f"{self.root}: skipped {there}; convert them to text or records, or move them elsewhere",
                stacklevel=2,
            )
        self._parts = [Files(files, split, domain, domain, self.options) for domain, files in found.items()]

    @property
    def domains(self) -> list[str]:
        """Names of the domains, in the order they are read."""
        return [part.domain for part in self._parts]

    @property
    def parts(self) -> list[Files]:
        """One source per domain, named after it, in the order they are read."""
        return list(self._parts)

    def _files_of(self, domains: Sequence[str] | None) -> dict[str, list[pathlib.Path]]:
        """Returns the files of each domain; sets `empty_domains` and counts skipped files."""
        everything = {folder.name: find_files(folder, self.options) for folder in self._domain_folders()}
        found = {domain: held.files for domain, held in everything.items() if held.files}
        self.empty_domains = [domain for domain in everything if domains is None and domain not in found]
        direct = find_files(self.root, self.options, is_nested=False)
        if domains is not None:
            return self._chosen(domains, everything, direct)
        self._leave_out([direct, *everything.values()])
        if direct.files and found:
            warnings.warn(
                f"{len(direct.files)} files directly in {self.root} are read as the domain `default`; move "
                f"them into a subfolder named after their domain",
                stacklevel=3,
            )
        if direct.files:
            found[DEFAULT] = [*direct.files, *found.get(DEFAULT, [])]
        # If no subfolder has files, subfolders are not domains.
        if (
            any(held.files for held in everything.values())
            and self.empty_domains
            and not self.options.skip_bad
        ):
            names = ", ".join(_with_content(domain, everything[domain]) for domain in self.empty_domains)
            raise DataError(
                f"{self.root} has subfolders without data: {names}; fill or remove them, choose `domains` "
                f"(--domains), or skip them with skip_bad (--skip-bad)"
            )
        return found

    def _chosen(
        self, domains: Sequence[str], everything: dict[str, FolderFiles], direct: FolderFiles
    ) -> dict[str, list[pathlib.Path]]:
        """Returns the files of some domains, in the order of their names."""
        if direct.files:
            everything = {**everything, DEFAULT: _joined(direct, everything.get(DEFAULT))}
        with_files = [name for name, held in everything.items() if held.files]
        chosen: dict[str, FolderFiles] = {}
        for name in sorted(set(domains)):
            if name not in everything:
                hint = suggestion(name, with_files, otherwise="domains there")
                raise DataError(f"{self.root} has no domain `{name}`; {hint}")
            if not everything[name].files:
                named = _with_content(f"`{name}`", everything[name])
                raise DataError(f"the domain {named} of {self.root} has no data; fill it or leave it out")
            chosen[name] = everything[name]
        self._leave_out(chosen.values())
        return {name: held.files for name, held in chosen.items()}

    def _domain_folders(self) -> list[pathlib.Path]:
        """Returns the subfolders, without links to a parent, which would be read without end."""
        root = self.root.resolve()
        folders = []
        for folder in visible_entries(self.root):
            if folder.is_symlink() and folder.is_dir() and root.is_relative_to(folder.resolve()):
                self.files_left_out.count("not read: linked folder", str(folder))
            elif folder.is_dir() and is_own_output(folder):
                self.files_left_out.count(OWN_OUTPUT, str(folder))
            elif folder.is_dir():
                folders.append(folder)
        return folders

    def _leave_out(self, searches: Iterable[FolderFiles]) -> None:
        for held in searches:
            self.files_left_out.add(held.left_out.report())

    def _read(self, bad: BadRecords, convert: Convert[T]) -> Iterator[T]:
        for domain in self.empty_domains:
            bad.count("domain without files", str(self.root / domain))
        bad.add(self.files_left_out.report())
        for part in self._parts:
            yield from part._read(bad, convert)

    def _describe(self, digest: hashlib.blake2b) -> None:
        for part in self._parts:
            part._describe(digest)


def _with_content(domain: str, held: FolderFiles) -> str:
    there = describe_files_left_out(held.left_out)
    return f"{domain} ({there})" if there else domain


def _joined(direct: FolderFiles, nested: FolderFiles | None) -> FolderFiles:
    """Returns the files directly in a folder and those of its subfolder `default` as one domain."""
    left_out = BadRecords(skip=True)
    for held in (direct, nested):
        if held is not None:
            left_out.add(held.left_out.report())
    return FolderFiles([*direct.files, *([] if nested is None else nested.files)], left_out)
