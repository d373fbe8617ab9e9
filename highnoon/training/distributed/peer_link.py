"""A connection between two workers that watch each other."""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import time
from typing import Any

from highnoon.files.foreign import ForeignDataError, parse_json

LONGEST_MESSAGE = 1 << 16
_DEEPEST_MESSAGE = 4


class PeerLink:
    """Sends and receives messages over a socket, one JSON list per line, whose first element is a string.

    With a token, each line is prefixed by the HMAC-SHA256 of its number on this connection and its JSON, with
    the token as key. The token itself is never sent, and a line cannot be replayed.

    A line that is not a message, is too long or has a wrong code ends the link; `fault` is then the reason.

    Args:
        connection: The socket, which the link owns and closes.
        rank: Rank of the worker at the other end; None until it has identified itself.
        token: Secret that both ends know, or None.

    Example:

    ```python
    near, far = (PeerLink(end, token="secret") for end in socket.socketpair())
    near.send("beat")
    assert far.receive() == [["beat"]]
    ```
    """

    def __init__(self, connection: socket.socket, rank: int | None = None, token: str | None = None) -> None:
        connection.settimeout(5.0)
        self.connection, self.rank = connection, rank
        self.opened_at = self.heard_at = time.monotonic()
        self.fault = ""
        self._token = token.encode() if token else None
        self._num_sent = self._num_received = 0
        self._rest = b""

    def fileno(self) -> int:
        return self.connection.fileno()

    def send(self, *message: Any) -> None:
        """Sends a message; a broken connection is detected when reading."""
        line = json.dumps(message).encode()
        if self._token is not None:
            line = _code(self._token, self._num_sent, line) + b" " + line
        self._num_sent += 1
        with contextlib.suppress(OSError):
            self.connection.sendall(line + b"\n")

    def receive(self) -> list[list[Any]] | None:
        """Waits for data and returns the complete messages; None if the link has ended."""
        try:
            received = self.connection.recv(LONGEST_MESSAGE)
        except TimeoutError:
            return []
        except OSError:
            return None
        *lines, self._rest = (self._rest + received).split(b"\n")
        if not received:
            return None
        if len(self._rest) > LONGEST_MESSAGE:
            self.fault = f"it sent a line of more than {LONGEST_MESSAGE:,} bytes"
            return None
        messages = []
        for line in lines:
            message = self._read(line)
            if message is None:
                return None
            messages.append(message)
        if messages:  # an incomplete line does not count as a heartbeat
            self.heard_at = time.monotonic()
        return messages

    def close(self, patience_seconds: float = 1.0) -> None:
        """Closes after the other end has read all messages: unread ones would turn a close into a reset."""
        ends_at = time.monotonic() + patience_seconds
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while (left := ends_at - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(LONGEST_MESSAGE):
                    break
        self.connection.close()

    def _read(self, line: bytes) -> list[Any] | None:
        if self._token is not None:
            code, _, line = line.partition(b" ")
            if not hmac.compare_digest(code, _code(self._token, self._num_received, line)):
                self.fault = "it does not know the token of this launch (HIGHNOON_TOKEN)"
                return None
        self._num_received += 1
        try:
            message = parse_json(line, "its line", list, max_depth=_DEEPEST_MESSAGE)
        except ForeignDataError:
            message = []
        if not message or not isinstance(message[0], str):
            self.fault = "it sent a line that is no message of a worker"
            return None
        return message


def _code(token: bytes, number: int, line: bytes) -> bytes:
    return hmac.digest(token, b"%d " % number + line, "sha256").hex().encode()
