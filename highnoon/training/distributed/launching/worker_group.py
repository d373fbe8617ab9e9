"""A group of processes that end together."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from highnoon.files.name_path import name_path
from highnoon.training.distributed.peer_watch import EXIT_CODE as LOST_ANOTHER

_POLL_SECONDS = 0.2
_NOTICE_SECONDS = 3.0  # in which a worker that another has lost may report why it ended
_NEVER = float("inf")
_ENDED_BY_GROUP = (128 + signal.SIGTERM, 128 + signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class WorkerCommand:
    """The command of one worker, the variables added to its environment, and how to stop it.

    A worker on another host is the `ssh` that runs it, which ends it when its standard input is closed.
    The secret, if any, is the first line of that input.
    """

    rank: int
    words: Sequence[str]
    environment: Mapping[str, str]
    host: str = "this host"
    ends_with_stdin: bool = False
    secret: str | None = dataclasses.field(default=None, repr=False)


class WorkerGroup:
    """Runs workers until all have ended, and stops all when one fails.

    Each line that a worker writes is printed after `[worker RANK]`, and kept as it is in
    `log_dir/worker_RANK.log`. SIGINT and SIGTERM are forwarded to all workers, once for each time they
    arrive; the third kills.

    Args:
        commands: One for each worker.
        log_dir: Folder of the logs, created if it is missing; None writes none.
        grace_seconds: Seconds from the first failure, or the first end after a signal, until the workers
            that still run are killed.
        appends_logs: Whether lines are appended to logs that exist, as those of a group that is started
            again.

    Example:

    ```python
    import sys

    hello = [sys.executable, "-c", "print('hello')"]
    assert WorkerGroup([WorkerCommand(rank, hello, {}) for rank in range(2)]).run() == 0
    ```
    """

    def __init__(
        self,
        commands: Sequence[WorkerCommand],
        log_dir: str | os.PathLike[str] | None = None,
        grace_seconds: float = 60.0,
        *,
        appends_logs: bool = False,
    ) -> None:
        self.appends_logs = appends_logs
        self.commands, self.grace_seconds = commands, grace_seconds
        self.log_dir = pathlib.Path(log_dir) if log_dir is not None else None
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        self._ends: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._printing = threading.Lock()
        self._signals: list[int] = []
        self._num_forwarded = 0

    def run(self) -> int:
        """Starts all, waits for all, and returns the exit code of the first that failed, or 0.

        A worker that a signal ended counts as 128 plus its number. A worker that stopped because it lost
        another (exit code 75) is not the first where another failed too.

        Raises:
            OSError: a command cannot be started; those that were started are stopped.
        """
        if self.log_dir is not None:
            self.log_dir.mkdir(parents=True, exist_ok=True)
        with _handlers(self._note):
            try:
                for command in self.commands:
                    self._start(command)
                failures = self._wait()
            finally:
                self._kill()
                for reader in self._readers:
                    reader.join(timeout=5.0)
        return next((code for code in failures if code != LOST_ANOTHER), failures[0] if failures else 0)

    @property
    def is_stopped(self) -> bool:
        """Whether a signal asked the group to end."""
        return bool(self._signals)

    def _start(self, command: WorkerCommand) -> None:
        process = subprocess.Popen(
            command.words,
            env={**os.environ, **command.environment},
            stdin=subprocess.PIPE if command.ends_with_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # a terminal's Ctrl-C reaches the workers through `_note` alone, once
        )
        self._processes[command.rank] = process
        if process.stdin is not None and command.secret is not None:
            with contextlib.suppress(BrokenPipeError):  # its end is reported when it is waited for
                process.stdin.write(f"{command.secret}\n")
                process.stdin.flush()
        for target in (self._read, self._await_end):
            thread = threading.Thread(target=target, args=(command.rank, process), daemon=True)
            thread.start()
            if target == self._read:
                self._readers.append(thread)

    def _read(self, rank: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        keeps_log = self.log_dir is not None
        for number, line in enumerate(process.stdout):
            try:
                if keeps_log:
                    self._write_log(rank, line, is_first=number == 0 and not self.appends_logs)
            except OSError as error:
                # A worker blocks forever if nobody reads its output.
                keeps_log = False
                self._say(f"[launch] {error}; the lines of worker {rank} are only printed from here on")
            self._say(f"[worker {rank}] {line.rstrip()}")

    def _write_log(self, rank: int, line: str, *, is_first: bool) -> None:
        assert self.log_dir is not None
        path = self.log_dir / f"worker_{rank}.log"
        with name_path(path), path.open("w" if is_first else "a", encoding="utf-8") as log:
            log.write(line)

    def _await_end(self, rank: int, process: subprocess.Popen[str]) -> None:
        self._ends.put((rank, process.wait()))

    def _wait(self) -> list[int]:
        """Returns the exit codes of failures in order, without those of workers that this group stopped."""
        failures: list[int] = []
        num_ended, stop_at, kill_at, has_stopped_all = 0, _NEVER, _NEVER, False
        while num_ended < len(self._processes):
            self._forward_signals()
            with contextlib.suppress(queue.Empty):
                rank, status = self._ends.get(timeout=_POLL_SECONDS)
                num_ended += 1
                self._say(f"[launch] worker {rank} {_how_it_ended(status)}")
                code = status if status >= 0 else 128 - status
                if code and not (has_stopped_all and code in _ENDED_BY_GROUP):
                    failures.append(code)
                if code and code != LOST_ANOTHER:
                    stop_at = min(stop_at, time.monotonic())
                elif code or self._signals:
                    stop_at = min(stop_at, time.monotonic() + _NOTICE_SECONDS)
            if time.monotonic() >= stop_at and not has_stopped_all and num_ended < len(self._processes):
                has_stopped_all, kill_at = True, time.monotonic() + self.grace_seconds
                if not self._signals:
                    self._say(f"[launch] stops the others, by force in {self.grace_seconds:g} s")
                    self._tell_all(signal.SIGTERM)
            if time.monotonic() >= kill_at:
                self._kill()
        return failures

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _forward_signals(self) -> None:
        for number in self._signals[self._num_forwarded :]:
            self._num_forwarded += 1
            if self._num_forwarded > 2:
                self._kill()
                return
            self._say(f"[launch] {signal.Signals(number).name} is forwarded to all workers; waiting for them")
            self._tell_all(number)

    def _tell_all(self, number: int) -> None:
        for command in self.commands:
            process = self._processes[command.rank]
            if process.poll() is not None:
                continue
            if process.stdin is not None:
                process.stdin.close()
            else:
                _signal_group(process, number)

    def _kill(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                _signal_group(process, signal.SIGKILL)

    def _say(self, line: str) -> None:
        with self._printing, contextlib.suppress(BrokenPipeError):
            print(line, file=sys.stdout, flush=True)


@contextlib.contextmanager
def _handlers(note: Callable[[int, FrameType | None], None]) -> Any:
    """Records SIGINT and SIGTERM instead of ending, in the main thread; in others nothing changes."""
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return {
        0: "ended well",
        LOST_ANOTHER: f"stopped because it lost another worker (exit code {LOST_ANOTHER})",
    }.get(status, f"failed with exit code {status}")
