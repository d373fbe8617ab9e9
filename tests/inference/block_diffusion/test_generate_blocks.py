"""Generation by blocks: the distribution of the discrete process, stops, and prompts of any length."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.inference import generate, generate_blocks, generate_contrastive, log_probabilities
from highnoon.tokenization import ByteTokenizer
from highnoon.training import BlockDiffusion
from tests.training.objectives.block_diffusion_toy import (
    LENGTH,
    MASK,
    SEQUENCES,
    denoising_table,
    exact_probability,
    make_toy,
)

NUM_SAMPLES, AT_ONCE, STEPS = 20_000, 2_000, 3


@pytest.fixture(scope="module")
def toy():
    return make_toy()


def p_value(counts, probabilities):
    """Of the chi-square test, with the rarest sequences counted together."""
    expected = probabilities / probabilities.sum() * counts.sum()
    order = np.argsort(expected)
    merged = np.searchsorted(np.cumsum(expected[order]), 5.0) + 1
    cells = [np.concatenate([[x[order][:merged].sum()], x[order][merged:]]) for x in (counts, expected)]
    return stats.chisquare(*cells).pvalue


def counted(model, **options):
    """How often each sequence of four tokens is generated after the token 0."""
    counts = np.zeros(len(SEQUENCES))
    for seed in range(NUM_SAMPLES // AT_ONCE):
        prompts = np.zeros((AT_ONCE, 1), "int32")
        rows = generate_blocks(
            model, prompts, max_length=LENGTH, block_length=LENGTH, strip_prompt=True, seed=seed, **options
        )
        assert rows.shape == (AT_ONCE, LENGTH) and rows.max() < MASK
        np.add.at(counts, rows @ 3 ** np.arange(LENGTH)[::-1], 1)
    return counts


@pytest.mark.slow
def test_samples_pass_a_chi_square_test_that_biased_samplers_fail(toy):
    table = denoising_table(toy)
    exact = np.array([exact_probability(table, sequence, STEPS) for sequence in SEQUENCES])
    assert p_value(counted(toy, num_steps=STEPS), exact) > 0.01
    assert p_value(counted(toy, num_steps=STEPS, order="confidence"), exact) < 1e-6
    assert p_value(counted(toy, num_steps=1), exact) < 1e-6
    assert p_value(counted(toy, num_steps=STEPS, temperature=0.9), exact) < 1e-4


@pytest.mark.slow
def test_blocks_of_one_token_take_the_most_likely_token_as_generate_does(toy):
    prompts = [[0], [1, 2, 0], [2, 2, 1, 0, 1, 0]]
    options = {"max_length": 9, "temperature": 0}
    assert generate_blocks(toy, prompts, block_length=1, **options) == generate(toy, prompts, **options)


@pytest.mark.slow
def test_rows_do_not_depend_on_the_other_rows_nor_on_the_length_of_their_prompts(toy):
    prompts = [[0, 1], [1, 2, 0, 0, 1, 2, 2], [2]]
    options = {"block_length": 4, "seed": 3, "max_length": 7}
    together = generate_blocks(toy, prompts, **options)
    assert generate_blocks(toy, prompts[:1], **options) == together[:1]
    assert [row[: len(p)] for row, p in zip(together, prompts, strict=True)] == prompts
    assert [len(row) - len(p) for row, p in zip(together, prompts, strict=True)] == [7, 7, 7]
    longer = generate_blocks(toy, prompts, **{**options, "max_length": 9})
    assert [row[:-2] for row in longer] == together


@pytest.mark.slow
def test_cached_blocks_equal_the_full_pass_without_a_cache(toy):
    """Each greedy block of one step is the most likely token of each mask, read from all tokens at once."""
    from highnoon.training.objectives.block_diffusion.block_inputs import noisy_inputs

    ids = generate_blocks(toy, [0, 2, 1, 1, 0, 2], max_length=7, block_length=4, num_steps=1, temperature=0)
    place = np.arange(12, dtype="int32")[None]
    row = {
        "token_ids": np.array([ids[:12]], "int32"),
        "segment_ids": np.ones_like(place),
        "positions": place,
        "noisy_labels": np.array([ids[1:13]], "int32"),
        "noisy_segment_ids": np.ones_like(place),
        "noisy_positions": place + 1,
        "is_masked": (place + 1 >= 6).astype("int32"),
        "block_lengths": np.array([4], "int32"),
    }
    logits = np.asarray(toy(noisy_inputs(row, MASK)))[0, :12, :MASK]
    assert logits[5:].argmax(axis=-1).tolist() == ids[6:]


def test_an_end_token_and_stop_sequences_end_a_row(toy):
    free = generate_blocks(toy, [[0], [1]], max_length=12, block_length=4, seed=1, strip_prompt=True)
    stopped = generate_blocks(
        toy, [[0], [1]], max_length=12, block_length=4, seed=1, strip_prompt=True, stop_sequences=[2]
    )
    for row, short in zip(free, stopped, strict=True):
        assert short == row[: row.index(2) + 1] if 2 in row else row


def test_texts_come_back_as_texts_and_log_probabilities_are_those_of_masks():
    model = hn.LanguageModel(
        vocab_size=263,
        embedding_dim=8,
        num_reasoning_blocks=1,
        num_heads=2,
        ffn_dim=8,
        max_seq_length=32,
        block_pattern="attention",
        tokenizer=ByteTokenizer(),
    )
    with pytest.raises(ConfigError, match="trained with objective"):
        generate_blocks(model, "sun", max_length=4)
    plain = log_probabilities(model, [2, 80, 81])
    model.outputs_description = BlockDiffusion(mask_id=6).describe_outputs()
    text = generate_blocks(model, "sun", max_length=6, block_length=4, seed=0)
    assert isinstance(text, str) and text.startswith("sun")
    assert np.abs(log_probabilities(model, [2, 80, 81]) - plain).max() > 1e-3
    with pytest.raises(TypeError, match="generate_blocks"):
        generate_contrastive(model, [2, 80], max_length=2)
    with pytest.raises(ValueError, match="block_length"):
        generate_blocks(model, "sun", block_length=0)
    with pytest.raises(ConfigError, match="order"):
        generate_blocks(model, "sun", order="left")
    with pytest.raises(ValueError, match="must leave room"):
        generate_blocks(model, [5] * 32)
