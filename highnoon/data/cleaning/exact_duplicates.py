"""Texts that came before."""

from __future__ import annotations

import dataclasses

from highnoon.data.cleaning.step import Judge, Step, Verdict
from highnoon.data.document import Document
from highnoon.data.tokens.splitting import split_hash


@dataclasses.dataclass(frozen=True)
class ExactDuplicates(Step):
    """Drops texts that differ from an earlier one in case and whitespace only; the first stays.

    A 64-bit hash of each text that stays is kept in memory, about 100 bytes a document. Among a billion
    documents there are 0.03 pairs to be expected that share a hash by chance.
    """

    reason = "duplicate"

    def start(self) -> Judge:
        seen: set[int] = set()

        def judge(document: Document) -> Verdict:
            place = duplicate_hash(document.text)
            if place in seen:
                return self.reason
            seen.add(place)
            return None

        return judge


def duplicate_hash(text: str) -> int:
    """Returns the 64-bit hash that texts share which differ in case and whitespace only."""
    return split_hash("".join(text.split()).casefold())
