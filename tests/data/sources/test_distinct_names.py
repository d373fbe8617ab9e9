"""Names of sources that stand together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from highnoon.data import DataError, DocumentSource
from highnoon.data.sources.distinct_names import require_distinct_names


def test_two_sources_of_one_name_are_an_error(make_source: Callable[..., DocumentSource]) -> None:
    sources = [make_source(["x"], name) for name in ("a", "b", "a")]
    require_distinct_names(sources[:2])
    with pytest.raises(DataError, match="sources 1 and 3 are both called `a`"):
        require_distinct_names(sources)
