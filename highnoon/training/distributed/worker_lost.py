"""A lost worker, and the error that it causes."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class LostWorker:
    """A lost worker: its rank, its address, and the reason."""

    rank: int
    address: str
    reason: str

    def __str__(self) -> str:
        return f"worker {self.rank} ({self.address}) is lost: {self.reason}"


class WorkerLostError(ConnectionError):
    """Training cannot continue because a worker is lost; `lost` says which."""

    def __init__(self, lost: LostWorker) -> None:
        super().__init__(f"{lost}; start all workers again to resume from the last checkpoint")
        self.lost = lost
