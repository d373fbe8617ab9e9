"""One connection between two workers that watch each other."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

LONGEST_MESSAGE = 1 << 16


class PeerLink:
    """Sends and receives messages, each a JSON list on one line, over a connected socket.

    Args:
        connection: The socket, of which the link takes charge.
        rank: Of the worker at the other end, or None until it has said who it is.

    Example:

    ```python
    near, far = (PeerLink(end) for end in socket.socketpair())
    near.send("beat")
    assert far.receive() == [["beat"]]
    ```
    """

    def __init__(self, connection: socket.socket, rank: int | None = None) -> None:
        connection.settimeout(5.0)
        self.connection, self.rank = connection, rank
        self.heard_at = time.monotonic()
        self._rest = b""

    def fileno(self) -> int:
        return self.connection.fileno()

    def send(self, *message: Any) -> None:
        """Sends a message; a connection that is broken is found when it is read."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[list[Any]] | None:
        """Waits for bytes and returns the messages that they complete; None where the link has ended."""
        try:
            received = self.connection.recv(LONGEST_MESSAGE)
        except TimeoutError:
            return []
        except OSError:
            return None
        *lines, self._rest = (self._rest + received).split(b"\n")
        if not received or len(self._rest) > LONGEST_MESSAGE:
            return None
        self.heard_at = time.monotonic()
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            return None
        return messages if all(isinstance(message, list) and message for message in messages) else None

    def close(self, patience_seconds: float = 1.0) -> None:
        """Closes once the other end has read what was sent: unread beats would turn a close into a reset."""
        ends_at = time.monotonic() + patience_seconds
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while (left := ends_at - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(LONGEST_MESSAGE):
                    break
        self.connection.close()
