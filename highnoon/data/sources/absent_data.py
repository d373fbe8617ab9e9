"""Data in memory of a run that is read back from disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NoReturn

from highnoon.data.document import DataError, Document, DocumentSource

IN_MEMORY = "in_memory"
"""The key under which a saved run or recipe describes data in memory."""


class AbsentData(DocumentSource):
    """Stands for an object in memory that a saved run or recipe describes and does not contain.

    Args:
        name: The name that the object had.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def documents(self) -> Iterator[Document]:
        self._refuse()

    def _describe(self, digest: hashlib.blake2b) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DataError(
            f"`{self.name}` was an object in memory, which is not saved with a run; add its stage again with "
            f"the same data, as in trainer.add_curriculum_stage(name, datasets=data)"
        )
