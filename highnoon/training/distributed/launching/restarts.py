"""Starts all workers again when one dies."""

from __future__ import annotations

from collections.abc import Callable

from highnoon.files.print_text import print_text
from highnoon.training.distributed.launching.worker_group import WorkerGroup

MISTAKES = (1, 2)
"""Exit codes of a mistake that the next start would make again: an error of the user, wrong usage."""


def run_with_restarts(start: Callable[[int], WorkerGroup], max_restarts: int = 0) -> int:
    """Runs groups of workers until one ends well, and returns the last exit code.

    A group is started again where a worker was killed or crashed, or where workers lost each other. It is not
    where a worker ended with one of `MISTAKES`, or where a signal asked the group to end.

    Args:
        start: Makes the group of a start: 0 is the first, `k` the k-th restart.
        max_restarts: Most restarts.

    Raises:
        OSError: as `WorkerGroup.run`.
    """
    for restart in range(max_restarts + 1):
        group = start(restart)
        code = group.run()
        if code == 0 or code in MISTAKES or group.is_stopped:
            return code
        if restart < max_restarts:
            print_text(
                f"[launch] exit code {code}: all workers start again, restart {restart + 1} of {max_restarts}"
            )
    if max_restarts:
        print_text(f"[launch] exit code {code}: all {max_restarts} restarts are used up")
    return code
