"""The noise of Gaussian diffusion: a function of seed, epoch and row, standard normal, at spread times."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.data import Files, tokenize
from highnoon.data.sequences.gaussian_noise_rows import GaussianNoiseRows
from highnoon.tokenization import ByteTokenizer

LENGTH, WIDTH = 16, 5


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    (folder / "a.txt").write_text("\n".join(f"the {n}th line of the text" for n in range(40)))
    return tokenize(Files(folder / "a.txt", split="line"), ByteTokenizer(), folder, validation_split=0.0)


def rows(store, **options):
    return GaussianNoiseRows([store], WIDTH, row_length=LENGTH, **options)


def test_the_noise_of_a_row_does_not_depend_on_how_rows_are_read(store):
    view = rows(store).view(epoch=1)
    whole = view.read(0, 9)
    for start, count in ((0, 4), (4, 1), (5, 4)):
        for name, array in view.read(start, count).items():
            np.testing.assert_array_equal(array, whole[name][start : start + count])
    assert whole["noise"].shape == (9, LENGTH, WIDTH) and whole["noise"].dtype == np.float32
    alone = rows(store).only(store).view(epoch=1).read(0, 9)
    np.testing.assert_array_equal(alone["noise"], whole["noise"])


def test_epochs_seeds_and_rows_have_different_noise(store):
    noise = [
        rows(store, seed=seed).view(epoch=epoch).read(0, 2)["noise"]
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    draws = [part for rows_of in noise for part in rows_of]
    for number, draw in enumerate(draws):
        assert all(np.abs(draw - other).max() > 0.5 for other in draws[:number])


def test_times_of_a_row_are_one_in_each_interval_and_noise_is_standard_normal(store):
    view = rows(store).view(epoch=0)
    batch = view.read(0, view.num_rows)
    intervals = np.sort(np.floor(batch["noise_times"].astype("float64") * LENGTH), axis=1)
    np.testing.assert_array_equal(intervals, np.tile(np.arange(LENGTH), (view.num_rows, 1)))
    assert abs(batch["noise"].mean()) < 0.05 and abs(batch["noise"].std() - 1) < 0.05


def test_reading_no_row_gives_empty_columns(store):
    batch = rows(store).view(epoch=0).read(0, 0)
    assert batch["noise"].shape == (0, LENGTH, WIDTH) and batch["noise_times"].shape == (0, LENGTH)
