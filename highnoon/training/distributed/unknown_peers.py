"""Connections that have not identified themselves: limited in number and time, reported once."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence

from highnoon.files.printable import printable
from highnoon.training.distributed.peer_link import PeerLink

HELLO_SECONDS = 5.0
MAX_WAITING = 32


class UnknownPeers:
    """Decides which unidentified connections to drop, and reports the first one.

    Args:
        num_workers: Number of workers, all of which may connect at the same time.
        hello_seconds: Time within which a connection must identify itself.
    """

    def __init__(self, num_workers: int, hello_seconds: float = HELLO_SECONDS) -> None:
        self.max_waiting = max(MAX_WAITING, num_workers)
        self.hello_seconds = hello_seconds
        self._has_reported = False

    def overdue(self, links: Sequence[PeerLink]) -> list[tuple[PeerLink, str]]:
        """Returns the links to drop with the reason: late ones, and the oldest if there are too many."""
        waiting = [link for link in links if link.rank is None]
        num_spare = max(0, len(waiting) - self.max_waiting)
        oldest_allowed = time.monotonic() - self.hello_seconds
        late = f"it did not say who it is within {self.hello_seconds:g} seconds"
        many = f"more than {self.max_waiting} connections did not say who they are"
        return [
            (link, late if link.opened_at < oldest_allowed else many)
            for index, link in enumerate(waiting)
            if link.opened_at < oldest_allowed or index < num_spare
        ]

    def report(self, link: PeerLink, reason: str) -> None:
        """Writes one line about a dropped connection to standard error, for the first one only."""
        if self._has_reported:
            return
        self._has_reported = True
        print(
            f"warning: the workers' watch dropped a connection from {_address(link)}: {printable(reason)}; "
            "later ones are dropped silently",
            file=sys.stderr,
            flush=True,
        )


def _address(link: PeerLink) -> str:
    try:
        name = link.connection.getpeername()
    except OSError:
        return "an unknown address"
    is_internet = link.connection.family in (socket.AF_INET, socket.AF_INET6)
    return str(name[0]) if is_internet and name else "an unknown address"
