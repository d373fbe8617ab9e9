"""The locks of the folders that a run writes."""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from highnoon.files.folder_lock import folder_lock

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class HeldFolders:
    """Folders that are locked until `release` is called."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def hold(self, folder: pathlib.Path, remedy: str) -> None:
        """Locks a folder, which is made if it is not there.

        Args:
            folder: The folder.
            remedy: What to do if the folder is locked.

        Raises:
            FolderLockedError: another run is writing it.
        """
        self._stack.enter_context(folder_lock(folder, remedy))

    def release(self) -> None:
        """Unlocks all folders."""
        self._stack.close()


def releases_folders(
    method: Callable[Concatenate[Any, _Parameters], _Result],
) -> Callable[Concatenate[Any, _Parameters], _Result]:
    """Decorates a method so that what it holds in `self.held_folders` is released however it ends."""

    @functools.wraps(method)
    def call(self: Any, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        outer, self.held_folders = self.held_folders, HeldFolders()
        try:
            return method(self, *args, **kwargs)
        finally:
            self.held_folders.release()
            self.held_folders = outer

    return call
