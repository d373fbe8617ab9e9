"""The noise of block diffusion: complete blocks, nothing told of what is predicted, and weights of mean 1."""

from __future__ import annotations

import json

import numpy as np
import pytest

from highnoon.data import open_source, tokenize
from highnoon.data.sequences.block_diffusion_rows import BlockDiffusionRows
from highnoon.data.sequences.block_noise import NOISE_COLUMNS, block_layout, block_noise
from highnoon.tokenization import ByteTokenizer

END = 3


def make_row(documents, length, weights=None):
    """A row of documents, each a list of ids; the last one may continue after the row."""
    row = {
        name: np.zeros(length, "f4" if name == "loss_weights" else "i4")
        for name in ("token_ids", "labels", "loss_weights", "segment_ids")
    }
    start = 0
    for number, ids in enumerate(documents):
        count = min(len(ids), length - start)
        here = slice(start, start + count)
        row["token_ids"][here], row["segment_ids"][here] = ids[:count], number + 1
        following = ids[1 : count + 1]
        row["labels"][start : start + len(following)] = following
        row["loss_weights"][start : start + len(following)] = 1
        start += count
    if weights is not None:
        row["loss_weights"][: len(weights)] = weights
        row["labels"] *= row["loss_weights"] > 0
    return row


def test_blocks_are_counted_in_each_document_and_filled_where_it_ends():
    row = make_row([[2, 11, 12, END], [2, 21, 22, 23, 24, 25]], 9)
    layout = block_layout(row, 2, END)
    assert layout.labels.tolist() == [11, 12, END, END, 21, 22, 23, 24, 25]
    assert layout.positions.tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 5]
    assert layout.blocks.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert layout.segment_ids.tolist() == [1] * 4 + [2] * 5
    assert layout.weights.tolist() == [1.0] * 9
    # Without an end token nothing is filled; the last label of the row is a token of the row's last document.
    assert block_layout(row, 2).labels.tolist() == [11, 12, END, 21, 22, 23, 24, 25]
    assert block_layout(make_row([[2, 21, 22, 23]], 3), 2).labels.tolist() == [21, 22, 23]


def test_a_row_of_padding_has_no_noise():
    row = make_row([], 4)
    noise = block_noise(row, 3, np.random.default_rng(0))
    assert set(noise) == set(NOISE_COLUMNS) and not any(array.any() for array in noise.values())


def test_unsupervised_tokens_are_shown_only_before_the_supervised_ones_of_their_block():
    row = make_row([[2, 11, 12, 13, 14, 15, 16, 17, 18]], 9, weights=[0, 1, 0, 1, 0, 0, 1, 0, 0])
    for seed in range(20):
        noise = block_noise(row, 4, np.random.default_rng(seed), least_rate=1e-3)
        # Blocks 11 .. 14 and 15 .. 18; the last label of the row, unsupervised, is not known.
        assert noise["is_masked"][[0, 4, 5]].tolist() == [0, 0, 0]
        assert noise["is_masked"][[2, 7]].tolist() == [1, 1]
        assert (noise["noise_weights"][[0, 2, 4, 5, 7]] == 0).all()


@pytest.mark.parametrize(("block_length", "least_rate"), [(1, 0.1), (4, 0.1), (4, 1.0), (16, 0.5)])
def test_weights_have_mean_1_and_rates_a_floor(block_length, least_rate):
    row = make_row([list(range(10, 31))], 20)
    draws = [
        block_noise(row, block_length, np.random.default_rng(seed), least_rate)["noise_weights"]
        for seed in range(4000)
    ]
    weights = np.stack(draws)
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.12
    rates = 1 / weights[weights > 0]
    assert rates.min() >= least_rate - 1e-6 and rates.max() <= 1 + 1e-6
    assert block_length == 1 or least_rate == 1.0 or rates.min() < least_rate + 0.05
    if block_length == 1:
        assert (weights == 1).all()


def test_rates_of_a_row_are_antithetic():
    row = make_row([list(range(10, 27))], 16)
    for seed in range(20):
        noise = block_noise(row, 4, np.random.default_rng(seed), least_rate=0.1)
        weights = noise["noise_weights"].reshape(4, 4).max(axis=1)
        rates = (1 / weights[weights > 0] - 0.1) / 0.9
        assert len(set(np.floor(rates * 4))) == len(rates)  # one in each quarter


def test_what_does_not_fit_into_the_row_is_left_out():
    row = make_row([[2, 11, END], [2, 21, END], [2, 31, 32]], 8)
    noise = block_noise(row, 4, np.random.default_rng(0), end_id=END)
    assert noise["noisy_labels"].tolist() == [11, END, END, END, 21, END, END, END]


def test_noise_is_a_function_of_seed_epoch_and_row(tmp_path):
    lines = [json.dumps({"text": f"number {i} of some lines"}) for i in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    store = tokenize(open_source(str(tmp_path / "a.jsonl")), ByteTokenizer(), tmp_path, validation_split=0.2)

    def rows(seed=5, split="train"):
        return BlockDiffusionRows([store], (1, 4, 8), END, 0.1, 16, seed, split)

    whole = rows().view(1).read(0, 12)
    for start in (0, 5):
        part = rows().view(1).read(start, 4)
        for name, array in part.items():
            assert np.array_equal(array, whole[name][start : start + 4]), name
    assert set(np.unique(rows().view(0).read(0, 40)["block_lengths"])) == {1, 4, 8}
    for other in (rows(6).view(1), rows().view(2)):
        assert not np.array_equal(other.read(0, 12)["is_masked"], whole["is_masked"])
    held_out = rows(split="validation")
    assert set(held_out.only(store).view(0).read(0, 2)) == set(whole)
    assert held_out.view(0).read(0, 0)["noise_weights"].shape == (0, 16)
