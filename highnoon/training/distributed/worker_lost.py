"""What is known of a worker that is no longer there."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class LostWorker:
    """A worker of the cluster: its rank, its address, and how the others know that it is gone."""

    rank: int
    address: str
    reason: str

    def __str__(self) -> str:
        return f"worker {self.rank} ({self.address}) is lost: {self.reason}"


class WorkerLostError(ConnectionError):
    """Training cannot go on because a worker is gone; `lost` says which."""

    def __init__(self, lost: LostWorker) -> None:
        super().__init__(f"{lost}; start all workers again to go on from the last checkpoint")
        self.lost = lost
