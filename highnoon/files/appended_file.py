"""Appends complete records to a file."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

from highnoon.files.name_path import name_path

_BINARY = getattr(os, "O_BINARY", 0)


class AppendedFile:
    """Appends complete records to a file and keeps records that could not be written.

    A record is passed to the operating system at once, so a kill loses none. If a write fails, the file is
    truncated to complete records, and the record stays in memory until the next `append` or `sync`.

    Args:
        path: The file; folders are created.
        terminator: The byte that ends each record. It is added to an incomplete record that a kill left. None
            if records have another framing.
        waiting: Records to write before the first one.
    """

    def __init__(
        self, path: str | os.PathLike[str], terminator: bytes | None = None, waiting: Iterable[bytes] = ()
    ) -> None:
        self.path, self.terminator = pathlib.Path(path), terminator
        self.waiting: list[bytes] = list(waiting)
        self.size = 0
        """Bytes of the file after the last write."""

    def append(self, record: bytes) -> None:
        """Writes a record after the waiting ones.

        Raises:
            OSError: If it cannot be written; the error names the path, and the record waits.
        """
        self.waiting.append(record)
        with name_path(self.path):
            self._write(is_synced=False)

    def sync(self) -> None:
        """Returns when all records are on disk, safe against a power failure.

        Raises:
            OSError: If they cannot be written; the error names the path.
        """
        if self.waiting or self.path.exists():
            with name_path(self.path):
                self._write(is_synced=True)

    def _write(self, *, is_synced: bool) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
        try:
            begin = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, self._missing_terminator(descriptor, begin) + b"".join(self.waiting))
                if is_synced:
                    os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, begin)
                raise
            self.waiting.clear()
            self.size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if is_new and os.name != "nt":
            _sync_folder(self.path.parent)

    def _missing_terminator(self, descriptor: int, size: int) -> bytes:
        if self.terminator is None or not self.waiting or size == 0:
            return b""
        os.lseek(descriptor, -1, os.SEEK_END)
        return b"" if os.read(descriptor, 1) == self.terminator else self.terminator


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: pathlib.Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
