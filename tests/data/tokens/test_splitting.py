"""The split is a property of the text alone."""

from __future__ import annotations

import pytest

from highnoon.data import DataError
from highnoon.data.tokens.splitting import split_hash, split_threshold


def test_the_hash_of_a_text_never_changes() -> None:
    assert split_hash("HighNoon") == 0x67CFF88419EDAD83
    assert split_hash("HighNoon") != split_hash("HighNoon ")


def test_the_fraction_held_out_is_the_one_asked_for() -> None:
    hashes = [split_hash(f"text {number}") for number in range(20_000)]
    for fraction in (0.0, 0.1, 0.5):
        held_out = sum(hashed < split_threshold(fraction) for hashed in hashes) / len(hashes)
        assert abs(held_out - fraction) < 0.01


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0])
def test_a_fraction_outside_its_range_is_an_error(fraction: float) -> None:
    with pytest.raises(DataError, match=r"must be in \[0, 1\)"):
        split_threshold(fraction)
