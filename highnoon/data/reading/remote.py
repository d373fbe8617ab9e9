"""Remote files: `gs://`, `s3://`, `https://` and other URLs that fsspec opens."""

from __future__ import annotations

import os
import pathlib
import re
from typing import IO, Any

from highnoon.data.document import DataError, SourceNotFoundError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://")


def is_remote(name: Any) -> bool:
    """Returns whether a name is a URL, not a path."""
    return isinstance(name, str) and _URL.match(name) is not None


class RemotePath:
    """A file at a URL, with the part of the interface of `pathlib.Path` that readers use.

    Args:
        url: The URL, as the user wrote it.
        system: The fsspec file system.
        path: The path of the file in that file system.
    """

    def __init__(self, url: str, system: Any, path: str) -> None:
        self.url = url
        self._system = system
        self._path = path
        # A URL may carry a query after the name, as signed links do.
        self._pure = pathlib.PurePosixPath(url.partition("?")[0])

    @property
    def name(self) -> str:
        return self._pure.name

    def open(self) -> IO[bytes]:
        """Opens the file for reading.

        Raises:
            OSError: If it cannot be opened.
        """
        stream: IO[bytes] = _as_os_error(self._system.open, self._path, "rb")
        return stream

    def version(self) -> tuple[int | None, str]:
        """Returns the size in bytes, None if unknown, and fsspec's checksum of the service's metadata.

        The metadata is an etag, a hash or the modification time.

        Raises:
            OSError: If the metadata cannot be read.
        """
        self._system.invalidate_cache()
        size = _as_os_error(self._system.info, self._path).get("size")
        return size, str(_as_os_error(self._system.checksum, self._path))

    def __str__(self) -> str:
        return self.url

    def __fspath__(self) -> str:
        return self.url


def expand_remote(url: str) -> list[RemotePath]:
    """Returns the files that a URL or a glob of URLs matches, sorted.

    Raises:
        ImportError: If fsspec, or its driver for this kind of URL, is not installed.
        DataError: If there are none, or they cannot be listed.
    """
    kind = url.partition("://")[0]
    try:
        import fsspec  # type: ignore[import-untyped]

        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ImportError(
            f"{url} needs fsspec and its driver for {kind}:// ({error}): pip install highnoon[remote]"
        ) from None
    except ValueError as error:
        raise DataError(f"cannot read {url}: {error}") from None
    # A question mark in an HTTP URL begins the query; in a bucket it is a wildcard.
    wildcards = "*[" if kind.startswith("http") else "*?["
    try:
        if set(wildcards) & set(url):
            found = sorted(_as_os_error(system.glob, path))
            files = [
                RemotePath(system.unstrip_protocol(match), system, match)
                for match in found
                if not system.isdir(match)
            ]
            if not files:
                raise SourceNotFoundError(f"no file matches {url}; check the folder and the pattern")
            return files
        if not kind.startswith("http") and _as_os_error(system.isdir, path):
            raise DataError(f"{url} is a folder; name its files, as in {url.rstrip('/')}/*.jsonl")
        if not _as_os_error(system.exists, path):
            raise SourceNotFoundError(f"no file at {url}; check the address and your access")
    except OSError as error:
        raise DataError(f"cannot read {url}: {error}") from error
    return [RemotePath(url, system, path)]


def _as_os_error(call: Any, *arguments: Any) -> Any:
    """Calls a driver and raises any of its errors, which are of many unrelated classes, as `OSError`."""
    try:
        return call(*arguments)
    except OSError:
        raise
    except Exception as error:
        raise OSError((str(error).splitlines() or [type(error).__name__])[0]) from error


FilePath = pathlib.Path | RemotePath


def file_version(path: FilePath) -> tuple[int | None, Any]:
    """Returns the size of a file in bytes and its modification time or checksum.

    Raises:
        OSError: If the file does not exist or cannot be read.
    """
    if isinstance(path, RemotePath):
        return path.version()
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
