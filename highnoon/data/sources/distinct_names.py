"""Sources that stand together need names that tell them apart."""

from __future__ import annotations

from collections.abc import Iterable

from highnoon.data.document import DataError, DocumentSource


def require_distinct_names(sources: Iterable[DocumentSource]) -> None:
    """Checks that no two sources go by one name, by which reports and weights could not tell them apart.

    Raises:
        DataError: two do.
    """
    numbers: dict[str, int] = {}
    for number, source in enumerate(sources, start=1):
        if (first := numbers.setdefault(source.name, number)) != number:
            raise DataError(
                f"sources {first} and {number} are both called `{source.name}`; open one of them "
                f"with another name (`name=` of Files and DomainFolder), or give it once"
            )
