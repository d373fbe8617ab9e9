"""Workers of a run watch each other, so that none waits for a lost one."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import selectors
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from highnoon.config import require_number
from highnoon.files.printable import printable
from highnoon.training.distributed.cluster_config import TOKEN_VARIABLE, ClusterConfig, is_loopback
from highnoon.training.distributed.peer_link import PeerLink
from highnoon.training.distributed.unknown_peers import UnknownPeers
from highnoon.training.distributed.worker_lost import LostWorker, WorkerLostError

__all__ = ["EXIT_CODE", "LostWorker", "PeerWatch", "WorkerLostError"]

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong with the command, run it again
BEAT_SECONDS = 1.0
_POLL_SECONDS = 0.2
_LONGEST_REASON = 500
# Errors that TensorFlow raises in the other workers when one is lost, and for other reasons too.
_COMMUNICATION_ERRORS = (
    "UnavailableError",
    "AbortedError",
    "CancelledError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InternalError",
)
_NO_GOODBYE = "its connection closed without a goodbye, as when a process is killed"
_numbers = itertools.count()


class PeerWatch:
    """Context manager that ends this process, with a message, when another worker is lost.

    Rank 0 listens on the cluster's `watch_address`; every other worker connects to it, and both ends send a
    heartbeat each second. A worker is lost if its connection closes without a goodbye or is silent for
    `silent_seconds`; rank 0 then notifies the others. Leaving the context sends a goodbye. Leaving it by an
    exception sends the exception's name, and the other workers stop too.

    When a worker is lost, the message is written to standard error and `on_loss` is called. If the main
    thread is waiting in TensorFlow, the error that TensorFlow raises becomes a WorkerLostError. The process
    ends with `exit_code` when the main thread ends, and at the latest after `grace_seconds`. A context that
    was left without an exception before that is not affected.

    Training does not continue without the watch: if the watch itself fails, or rank 0 refuses a worker for
    `silent_seconds`, that worker counts as lost. Other connections are dropped, and the first is reported:
    those that do not identify themselves in time or, if the cluster has a token, whose lines are not signed.
    If all workers are on one machine, the watch listens on the loopback address only.

    A worker that has not yet entered the context is not watched.

    Args:
        cluster: The workers; with None or a single worker the context does nothing.
        on_loss: Called with the LostWorker, in the thread of the watch.
        grace_seconds: Time from the message to the end of the process, at least 0.
        silent_seconds: Time without a heartbeat after which a worker is lost, above 1. Heartbeats come from a
            Python thread: choose at least the longest time that an extension holds the GIL.
        exit_code: Exit code of this process when a worker is lost; None keeps the process alive.

    Raises:
        WorkerLostError: The context is left by a communication error and a worker is lost.
        OSError: Rank 0 cannot listen on the watch address.

    Example:

    ```python
    with PeerWatch(ClusterConfig.from_environment()) as watch:
        pass  # train
    assert watch.lost is None
    ```
    """

    def __init__(
        self,
        cluster: ClusterConfig | None,
        on_loss: Callable[[LostWorker], object] | None = None,
        *,
        grace_seconds: float = 10.0,
        silent_seconds: float = 30.0,
        exit_code: int | None = EXIT_CODE,
    ) -> None:
        require_number("silent_seconds", silent_seconds, above=BEAT_SECONDS)
        require_number("grace_seconds", grace_seconds, least=0)
        self.cluster = cluster if cluster is not None and cluster.num_workers > 1 else None
        self.on_loss, self.exit_code = on_loss, exit_code
        self.grace_seconds, self.silent_seconds = grace_seconds, silent_seconds
        self.lost: LostWorker | None = None
        self.joined: set[int] = set()
        self.greeting = ""
        self._links: list[PeerLink] = []
        self._listener: socket.socket | None = None
        self._farewell: tuple[str, ...] = ("bye",)
        self._departed: list[int] = []
        self._join_at = 0.0
        self._refused_at: float | None = None
        self._unknown = UnknownPeers(cluster.num_workers if cluster is not None else 1)
        self._leaving, self._left, self._known = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peer-watch", daemon=True)

    def __enter__(self) -> PeerWatch:
        if self.cluster is not None:
            # Numbered, so that consecutive watches of a process are not confused.
            self.greeting = f"{next(_numbers)} {' '.join(self.cluster.addresses)}"
            self._address = self.cluster.watch_address
            if self.cluster.is_chief:
                self._listener = _listen(*self._address)
                _warn_without_token(self.cluster)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self.cluster is None:
            return
        is_communication = kind is not None and _is_communication_error(kind)
        if is_communication:
            self._find_cause()
        if error is None:
            self._left.set()
        elif not _is_orderly(error):
            reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
            self._farewell = ("failed", _short(reason))
        self._leaving.set()
        if self.lost is None or error is None or self.exit_code is None:
            self._thread.join(timeout=5.0)
        else:
            atexit.register(_end_process, self.exit_code)
        if self.lost is not None and is_communication:
            raise WorkerLostError(self.lost) from error

    def _find_cause(self) -> None:
        """After a communication error, waits until the worker that caused it is known."""
        if self._known.wait(2 * BEAT_SECONDS):
            return
        for rank in self._departed:
            self._lose(rank, "it left training before the others")
        self._known.wait(self.silent_seconds)
        for rank in self._never_joined():
            self._lose(rank, "it never began to train")

    def _watch(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # training must not continue without the watch
            self._fail(error)
        try:
            self._close()
        except Exception:  # the process must end in any case
            traceback.print_exc()
        if self.lost is not None and self.exit_code is not None and not self._left.wait(self.grace_seconds):
            _end_process(self.exit_code)

    def _serve(self) -> None:
        with contextlib.closing(selectors.DefaultSelector()) as self._selector:
            if self._listener is not None:
                self._selector.register(self._listener, selectors.EVENT_READ)
            beat_at = 0.0
            while self.lost is None and not self._leaving.is_set():
                if time.monotonic() >= beat_at:
                    beat_at = time.monotonic() + BEAT_SECONDS
                    self._tell("beat")
                self._join_hub()
                self._receive()
                self._find_silent()

    def _fail(self, error: BaseException) -> None:
        """Reports this worker itself as lost, here and to the others."""
        assert self.cluster is not None
        if self.lost is not None:
            return
        rank = self.cluster.rank
        reason = _short(f"its watch of the other workers failed with {type(error).__name__}: {error}")
        with contextlib.suppress(Exception):
            self._tell(*(("lost", rank, reason) if self.cluster.is_chief else ("failed", reason)))
        self._report(LostWorker(rank, self.cluster.addresses[rank], reason))

    def _close(self) -> None:
        if self.lost is None:
            self._tell(*self._farewell)
        for link in self._links:
            link.close(patience_seconds=0.0 if link.rank is None else 1.0)
        if self._listener is not None:
            self._listener.close()

    def _join_hub(self) -> None:
        assert self.cluster is not None
        is_time = not self._links and time.monotonic() >= self._join_at
        if self.cluster.is_chief or self._departed or not is_time:
            return
        self._join_at = time.monotonic() + _POLL_SECONDS
        try:
            connection = socket.create_connection(self._address, timeout=1.0)
        except OSError:
            self._refused_at = None  # rank 0 does not listen yet
            return
        link = PeerLink(connection, token=self.cluster.token)
        link.send("hello", self.cluster.rank, self.greeting)
        self._add(link)

    def _receive(self) -> None:
        for key, _ in self._selector.select(timeout=_POLL_SECONDS):
            if key.fileobj is self._listener:
                self._accept()
                continue
            link: PeerLink = key.fileobj  # type: ignore[assignment]
            messages = link.receive() if link in self._links else []
            for message in messages or ():
                if link in self._links:
                    self._handle(link, *message)
            if messages is None:
                self._end(link)

    def _accept(self) -> None:
        assert self.cluster is not None and self._listener is not None
        try:
            connection = self._listener.accept()[0]
        except OSError:  # for instance too many open files: the connection stays in the queue
            time.sleep(_POLL_SECONDS)
            return
        self._add(PeerLink(connection, token=self.cluster.token))

    def _end(self, link: PeerLink) -> None:
        """Drops a link that has ended or sent an invalid message."""
        assert self.cluster is not None
        if link.rank is not None:
            self._drop(link)
            self._lose(link.rank, link.fault or _NO_GOODBYE)
        elif self.cluster.is_chief:
            self._refuse(link, link.fault or "it closed without identifying itself")
        else:
            self._drop(link)
            self._note_refusal(link.fault)

    def _note_refusal(self, fault: str) -> None:
        """Measures for how long rank 0 has closed every connection of this worker immediately."""
        self._refused_at = self._refused_at or time.monotonic()
        if time.monotonic() - self._refused_at > self.silent_seconds:
            reason = fault or "it refuses the connection of this worker"
            self._lose(0, f"{reason}; {TOKEN_VARIABLE} must be the same for all workers")

    def _handle(self, link: PeerLink, kind: str, *values: Any) -> None:
        assert self.cluster is not None
        if link.rank is None:
            (self._greet if self.cluster.is_chief else self._begin)(link, kind, values)
        elif kind == "bye":
            self._departed.append(link.rank)
            self._drop(link)
        elif kind == "failed":
            self._drop(link)
            self._lose(link.rank, f"it ended with {_short(values[0]) if values else 'an error'}")
        elif kind == "lost" and link.rank == 0:
            if len(values) != 2 or not self._is_rank(values[0]):
                self._drop(link)
                self._lose(0, "it sent a line that is no message of a worker")
            else:
                self._lose(values[0], _short(values[1]))

    def _greet(self, link: PeerLink, kind: str, values: tuple[Any, ...]) -> None:
        """Accepts, as rank 0, a worker that identifies itself."""
        addresses = self.greeting.partition(" ")[2]
        rank, greeting = values if len(values) == 2 else (0, None)
        if kind != "hello" or not self._is_rank(rank) or rank == 0 or not isinstance(greeting, str):
            self._refuse(link, "it did not say which worker it is")
        elif greeting.partition(" ")[2] != addresses:
            self._refuse(link, "it is a worker of another run")
        elif greeting != self.greeting:
            link.send("wait")  # one of the two processes is already in its next watch
            self._drop(link)
        elif rank in self.joined:
            self._refuse(link, f"worker {rank} has joined already")
        else:
            link.rank = rank
            self.joined.add(rank)
            link.send("welcome")

    def _begin(self, link: PeerLink, kind: str, values: tuple[Any, ...]) -> None:
        """Reads, as another worker, whether rank 0 has accepted this one."""
        self._refused_at = None
        if kind == "welcome":
            link.rank = 0
            self.joined.add(0)
        else:
            self._drop(link)

    def _is_rank(self, value: Any) -> bool:
        assert self.cluster is not None
        return type(value) is int and 0 <= value < self.cluster.num_workers

    def _refuse(self, link: PeerLink, reason: str) -> None:
        self._unknown.report(link, reason)
        self._drop(link)

    def _find_silent(self) -> None:
        assert self.cluster is not None
        if self.cluster.is_chief:
            for link, reason in self._unknown.overdue(self._links):
                self._refuse(link, reason)
        for link in list(self._links):
            if time.monotonic() - link.heard_at > self.silent_seconds:
                self._drop(link)
                if link.rank is not None:
                    self._lose(link.rank, f"nothing was heard of it for {self.silent_seconds:g} seconds")

    def _lose(self, rank: int, reason: str) -> None:
        assert self.cluster is not None
        if self.lost is None:
            self._tell("lost", rank, reason)
            self._report(LostWorker(rank, self.cluster.addresses[rank], reason))

    def _report(self, lost: LostWorker) -> None:
        assert self.cluster is not None
        self.lost = lost
        stops = f"; worker {self.cluster.rank} stops, by force in {self.grace_seconds:g} s"
        with contextlib.suppress(OSError, ValueError):  # standard error is closed
            print(f"error: {lost}{stops if self.exit_code is not None else ''}", file=sys.stderr, flush=True)
        self._known.set()
        if self.on_loss is not None:
            try:
                self.on_loss(lost)
            except Exception:  # the process must end in any case
                traceback.print_exc()

    def _never_joined(self) -> list[int]:
        assert self.cluster is not None
        expected = range(1, self.cluster.num_workers) if self.cluster.is_chief else range(1)
        return sorted(set(expected) - self.joined)

    def _tell(self, *message: Any) -> None:
        for link in self._joined_links():
            link.send(*message)

    def _joined_links(self) -> Iterator[PeerLink]:
        return (link for link in self._links if link.rank is not None)

    def _add(self, link: PeerLink) -> None:
        self._links.append(link)
        self._selector.register(link, selectors.EVENT_READ)

    def _drop(self, link: PeerLink) -> None:
        if link not in self._links:
            return
        self._selector.unregister(link)
        self._links.remove(link)
        link.close(patience_seconds=0.0)


def _listen(host: str, port: int) -> socket.socket:
    bind_to = host if is_loopback(host) else ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((bind_to, port), family=family)
    except OSError as error:
        raise OSError(
            f"rank 0 cannot listen on port {port}, over which the workers watch each other "
            f"({error.strerror}); set HIGHNOON_WATCH_PORT to a free port, the same for all workers"
        ) from error


def _warn_without_token(cluster: ClusterConfig) -> None:
    if cluster.token is None and not cluster.is_on_one_machine:
        warnings.warn(
            f"{TOKEN_VARIABLE} is not set: anyone who can connect to port {cluster.watch_address[1]} of this "
            "machine can impersonate a worker and end the run; set it to one secret in the environment of "
            "all workers, or start them with `highnoon launch`",
            stacklevel=3,
        )


def _short(reason: Any) -> str:
    """Returns a reason from another worker as one line that is safe to print."""
    return printable(" ".join(str(reason)[:_LONGEST_REASON].split()))


def _is_communication_error(kind: type[BaseException]) -> bool:
    return kind.__module__.startswith("tensorflow.") and kind.__name__ in _COMMUNICATION_ERRORS


def _is_orderly(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and not error.code)


def _end_process(exit_code: int) -> None:
    """Exits without the cleanup of TensorFlow, which would wait for the lost workers."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(exit_code)
