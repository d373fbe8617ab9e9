"""Positions in documents, from whatever tells them apart."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.experts.document_positions import document_positions

IDS = np.ones((2, 6), "int32")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [[0, 1, 2, 3, 4, 5]] * 2),
        ({"positions": np.arange(6)}, [[0, 1, 2, 3, 4, 5]] * 2),
        ({"positions": np.array([[0, 1, 0, 1, 2, 3]] * 2)}, [[0, 1, 0, 1, 2, 3]] * 2),
        (
            {"segment_ids": np.array([[1, 1, 2, 2, 2, 0], [3, 1, 1, 2, 0, 0]])},
            [[0, 1, 0, 1, 2, 0], [0, 0, 1, 0, 0, 1]],
        ),
        (
            {"padding_mask": np.array([[0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]])},
            [[0, 0, 0, 1, 2, 2], [0, 1, 2, 3, 4, 5]],
        ),
    ],
)
def test_positions_count_from_the_first_token_of_each_document(given, expected):
    np.testing.assert_array_equal(document_positions({"token_ids": IDS, **given}), expected)
