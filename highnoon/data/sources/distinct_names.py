"""Checks that sources used together have distinct names."""

from __future__ import annotations

from collections.abc import Iterable

from highnoon.data.document import DataError, DocumentSource


def require_distinct_names(sources: Iterable[DocumentSource]) -> None:
    """Checks that no two sources have the same name, so that reports and weights can distinguish them.

    Raises:
        DataError: If two sources have the same name.
    """
    numbers: dict[str, int] = {}
    for number, source in enumerate(sources, start=1):
        if (first := numbers.setdefault(source.name, number)) != number:
            raise DataError(
                f"sources {first} and {number} are both called `{source.name}`; open one of them with "
                f"another name (`name=` of Files and DomainFolder), or use it once"
            )
