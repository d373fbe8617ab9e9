"""Writes checkpoints in a thread while the run continues."""

from __future__ import annotations

import concurrent.futures
import pathlib
from collections.abc import Callable

from highnoon.training.checkpoints import checkpoint


class CheckpointWriter:
    """Writes, hashes and prunes checkpoints in a thread of its own, one after the other.

    A save begins once the one before is on disk, so at most one copy of a run's state waits in memory.

    Args:
        directory: Where the `step_*` folders go.
        keep: How many of the newest are retained.
        keep_every: Checkpoints of its multiples are retained too; None for none.
    """

    def __init__(self, directory: pathlib.Path, keep: int, keep_every: int | None = None) -> None:
        self.directory, self.keep, self.keep_every = directory, keep, keep_every
        self._executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: tuple[pathlib.Path, concurrent.futures.Future[None]] | None = None

    def folder(self, step: int) -> pathlib.Path:
        return self.directory / checkpoint.step_folder_name(step)

    def start(
        self,
        step: int,
        write_files: Callable[[pathlib.Path], None],
        roles: tuple[str, ...] = (),
        prunes: bool = True,
    ) -> list[pathlib.Path]:
        """Begins to write a checkpoint, which also gets the roles; returns those finished meanwhile.

        Without `prunes` no older one is deleted for it.

        Raises:
            CheckpointError: the one before could not be written.
        """
        finished = self.wait()
        folder = self.folder(step)
        self._writing = folder, self._executor.submit(self._write, folder, write_files, roles, prunes)
        return finished

    def finished(self) -> list[pathlib.Path]:
        """Returns the checkpoint that has been written since the last time, without waiting.

        Raises:
            CheckpointError: it could not be written.
        """
        return self.wait() if self._writing is not None and self._writing[1].done() else []

    def wait(self) -> list[pathlib.Path]:
        """Waits for the checkpoint that is being written and returns it.

        Raises:
            CheckpointError: it could not be written.
        """
        if self._writing is None:
            return []
        (folder, future), self._writing = self._writing, None
        future.result()
        return [folder]

    def give_role(self, step: int, role: str) -> None:
        """Gives a written checkpoint a role."""
        checkpoint.point_at(self.folder(step), role)

    def drop_role(self, role: str) -> None:
        (self.directory / role).unlink(missing_ok=True)

    def close(self) -> None:
        """Ends the thread, once what it writes is written."""
        self._executor.shutdown()

    def _write(
        self,
        folder: pathlib.Path,
        write_files: Callable[[pathlib.Path], None],
        roles: tuple[str, ...],
        prunes: bool,
    ) -> None:
        checkpoint.write_folder(folder, write_files)
        for role in (checkpoint.LATEST, *roles):
            checkpoint.point_at(folder, role)
        if prunes:
            checkpoint.prune(self.directory, self.keep, self.keep_every)
