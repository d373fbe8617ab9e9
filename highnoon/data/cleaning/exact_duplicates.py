"""Drops exact duplicates."""

from __future__ import annotations

import dataclasses

from highnoon.data.cleaning.step import Judge, Step, Verdict
from highnoon.data.document import Document
from highnoon.data.tokens.splitting import split_hash


@dataclasses.dataclass(frozen=True)
class ExactDuplicates(Step):
    """Drops texts that differ from an earlier one only in case and whitespace; the first is kept.

    A 64-bit hash of each kept text is stored in memory, about 100 bytes per document. Among a billion
    documents, 0.03 pairs are expected to have the same hash by chance.
    """

    reason = "duplicate"

    def start(self) -> Judge:
        seen: set[int] = set()

        def judge(document: Document) -> Verdict:
            hashed = duplicate_hash(document.text)
            if hashed in seen:
                return self.reason
            seen.add(hashed)
            return None

        return judge


def duplicate_hash(text: str) -> int:
    """Returns a 64-bit hash that ignores case and whitespace."""
    return split_hash("".join(text.split()).casefold())
