"""Ids that come more than once."""

from __future__ import annotations

import warnings

import pytest

from highnoon.data import id_check


def test_ids_beyond_the_bound_are_compared_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_check, "MAX_IDS", 2)
    ids = id_check.IdCheck()
    for number, name in enumerate("abccab"):
        ids.add("source", name, f"row {number}")
    assert ids.num_doubled == 2
    with pytest.warns(UserWarning, match="with the first 2 ids only.*first at row 4, row 5"):
        ids.warn("name")


def test_distinct_ids_are_not_spoken_of() -> None:
    ids = id_check.IdCheck()
    ids.add("ab", "c", "row 1")
    ids.add("a", "bc", "row 2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids.warn("name")
