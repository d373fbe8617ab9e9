"""The workers of a run watch each other, so that none waits for one that is gone."""

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
# What TensorFlow raises in the others when a worker goes; raised for other causes too.
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
    """Context in which the loss of another worker ends this process, with a message that names the worker.

    Rank 0 listens at the cluster's `watch_address`; each other worker holds a connection to it, and both
    ends send a beat each second. A connection that closes without a goodbye, or is silent for
    `silent_seconds`, is a lost worker: rank 0 tells the others. Leaving the context says goodbye; leaving
    it by an exception tells the others which, and they stop too.

    On a loss the message goes to standard error at once and `on_loss` is called. Where the main thread is
    waiting in TensorFlow, which raises an error of its own or never returns, that error becomes a
    WorkerLostError; the process ends with `exit_code` when the main thread ends, and after
    `grace_seconds` in any case, whatever it is doing. A context that was left without an exception before
    then is not disturbed.

    Training does not continue unwatched: where the watch itself fails, or rank 0 refuses a worker for
    `silent_seconds`, that is a loss too, with a message that says so. A connection of anybody else is
    dropped, and the first one is reported: one that does not say who it is in time, or, where the cluster
    has a token, whose lines are not signed with it. Where all workers are on one machine the watch listens
    at loopback alone.

    A worker that has not yet entered the context is not watched.

    Args:
        cluster: The workers; None, or one of a single worker, makes a context that does nothing.
        on_loss: Called with the LostWorker, in a thread of the watch.
        grace_seconds: From the message to the end of the process, at least 0.
        silent_seconds: Without a beat, over 1. Beats come from a thread of Python: choose no less than the
            longest time that an extension keeps Python's lock.
        exit_code: Of this process on a loss; None leaves the process alive.

    Raises:
        WorkerLostError: on leaving by an error of communication, where a worker is lost.
        OSError: rank 0 cannot listen at the watch address.

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
            # The how-manieth watch of the process: two that follow each other are not mixed up.
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
        """Waits, after an error of communication, until it is known which worker it came from."""
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
        except BaseException as error:  # whatever it is, training must not continue unwatched
            self._fail(error)
        try:
            self._close()
        except Exception:  # the process must end all the same
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
        """Reports this worker itself as lost to watching, here and to the others."""
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
            self._refused_at = None  # nobody listens there yet
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
        except OSError:  # too many open files, say: the connection stays in the queue
            time.sleep(_POLL_SECONDS)
            return
        self._add(PeerLink(connection, token=self.cluster.token))

    def _end(self, link: PeerLink) -> None:
        """Drops a link that has ended, or that did not keep to the form of a message."""
        assert self.cluster is not None
        if link.rank is not None:
            self._drop(link)
            self._lose(link.rank, link.fault or _NO_GOODBYE)
        elif self.cluster.is_chief:
            self._refuse(link, link.fault or "it closed without saying who it is")
        else:
            self._drop(link)
            self._note_refusal(link.fault)

    def _note_refusal(self, fault: str) -> None:
        """Counts for how long rank 0 has closed every connection of this worker at once."""
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
        """Takes in, as rank 0, a worker that says who it is."""
        addresses = self.greeting.partition(" ")[2]
        rank, greeting = values if len(values) == 2 else (0, None)
        if kind != "hello" or not self._is_rank(rank) or rank == 0 or not isinstance(greeting, str):
            self._refuse(link, "it did not say which worker it is")
        elif greeting.partition(" ")[2] != addresses:
            self._refuse(link, "it is a worker of another run")
        elif greeting != self.greeting:
            link.send("wait")  # it is ahead, in the next watch of its process, or this one is
            self._drop(link)
        elif rank in self.joined:
            self._refuse(link, f"worker {rank} has joined already")
        else:
            link.rank = rank
            self.joined.add(rank)
            link.send("welcome")

    def _begin(self, link: PeerLink, kind: str, values: tuple[Any, ...]) -> None:
        """Learns, as any other worker, whether rank 0 has taken this one in."""
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
            except Exception:  # the process must end all the same
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
            f"rank 0 cannot listen at port {port}, over which the workers watch each other "
            f"({error.strerror}); set HIGHNOON_WATCH_PORT to a free port, the same for all workers"
        ) from error


def _warn_without_token(cluster: ClusterConfig) -> None:
    if cluster.token is None and not cluster.is_on_one_machine:
        warnings.warn(
            f"{TOKEN_VARIABLE} is not set: whoever reaches port {cluster.watch_address[1]} of this machine "
            "can pass for a worker and end the run; set it to one secret in the environment of all workers, "
            "or start them with `highnoon launch`",
            stacklevel=3,
        )


def _short(reason: Any) -> str:
    """A reason from another worker, as one line that is safe to print."""
    return printable(" ".join(str(reason)[:_LONGEST_REASON].split()))


def _is_communication_error(kind: type[BaseException]) -> bool:
    return kind.__module__.startswith("tensorflow.") and kind.__name__ in _COMMUNICATION_ERRORS


def _is_orderly(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and not error.code)


def _end_process(exit_code: int) -> None:
    """Ends without TensorFlow's own tidying up, which waits for the workers that are gone."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(exit_code)
