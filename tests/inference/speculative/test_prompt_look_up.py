"""Drafts from the text itself, against the same search written out."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.inference.speculative.prompt_look_up import LONGEST_MATCH, look_up


def naive_drafts(text: list[int], num_drafts: int) -> list[int] | None:
    for size in range(min(LONGEST_MATCH, len(text)), 0, -1):
        for end in range(len(text) - 2, size - 2, -1):
            if text[end - size + 1 : end + 1] == text[-size:]:
                loop = text[end + 1 :]
                return [loop[place % len(loop)] for place in range(num_drafts)]
    return None


@pytest.mark.parametrize("vocab_size", [2, 4, 9, 60])
def test_drafts_follow_the_latest_of_the_longest_matches(vocab_size: int) -> None:
    rng = np.random.default_rng(vocab_size)
    first, length = rng.integers(0, 10, 200), rng.integers(11, 33, 200)
    text = rng.integers(0, vocab_size, (200, 32), np.int32)
    drafts, is_found = (
        ops.convert_to_numpy(part) for part in look_up(text, length.astype("int32"), first.astype("int32"), 5)
    )
    expected = [
        naive_drafts(row[low:high].tolist(), 5) for row, low, high in zip(text, first, length, strict=True)
    ]
    assert is_found.tolist() == [row is not None for row in expected]
    assert [row.tolist() if found else None for row, found in zip(drafts, is_found, strict=True)] == expected
    assert 0 < sum(is_found)
