"""Selects domains of a source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from highnoon.data.document import DataError, Document, DocumentSource


class ChosenDomains(DocumentSource):
    """The documents of `source` in some domains, in their order.

    Args:
        source: The source; all of it is read, and documents of other domains are skipped.
        domains: Names of domains, at least one.

    Raises:
        DataError: If there is no domain; after reading, if the source has no document of a domain.
    """

    def __init__(self, source: DocumentSource, domains: Sequence[str]) -> None:
        if not domains:
            raise DataError("`domains` must name at least one domain; received none")
        self.source = source
        self.domains = tuple(sorted(set(domains)))
        self.name = f"{source.name} ({', '.join(self.domains)})"

    def documents(self) -> Iterator[Document]:
        seen: set[str] = set()
        for document in self.source.documents():
            seen.add(document.domain)
            if document.domain in self.domains:
                yield document
        if missing := set(self.domains) - seen:
            raise DataError(
                f"{self.source.name} has no document of the domain {', '.join(sorted(missing))}; "
                f"it has {', '.join(sorted(seen))}"
            )

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(repr((self.source.fingerprint(), self.domains)).encode())
