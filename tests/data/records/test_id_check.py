"""Ids that come more than once."""

from __future__ import annotations

import pytest

from highnoon.data.records import id_check


def test_ids_beyond_the_bound_are_compared_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_check, "MAX_IDS", 2)
    ids = id_check.IdCheck()
    with pytest.warns(UserWarning, match="the first 2 ids are stored") as warned:
        doubled = [ids.is_doubled("source", name) for name in "abccab"]
    assert len(warned) == 1
    assert doubled == [False] * 4 + [True] * 2


def test_source_and_id_are_kept_apart() -> None:
    ids = id_check.IdCheck()
    assert not ids.is_doubled("ab", "c") and not ids.is_doubled("a", "bc")
    assert ids.is_doubled("ab", "c")
