"""The bound of block diffusion: never below the exact value of the process, and lower with more steps."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from highnoon.config import ConfigError
from highnoon.data import PackedRows, open_source, tokenize
from highnoon.evaluation.diffusion_bound import bound_sums, diffusion_bound, step_weights
from highnoon.tokenization import ByteTokenizer
from tests.training.objectives.block_diffusion_toy import (
    LENGTH,
    MASK,
    SEQUENCES,
    VOCAB,
    denoising_table,
    exact_bound,
    exact_probability,
    make_toy,
    rows_of,
)

STEPS = (1, 2, 4, 16)


@pytest.fixture(scope="module")
def toy():
    model = make_toy()
    return model, denoising_table(model)


@pytest.mark.parametrize("num_steps", STEPS)
def test_the_bound_is_never_below_the_exact_value_and_equals_it_with_one_step(toy, num_steps):
    _, table = toy
    exact = np.array([exact_probability(table, sequence, num_steps) for sequence in SEQUENCES])
    assert exact.sum() == pytest.approx(1.0, abs=1e-6)
    gaps = np.array([exact_bound(table, s, num_steps) for s in SEQUENCES]) + np.log(exact)
    assert gaps.min() > -1e-6
    assert (gaps.max() < 1e-6) == (num_steps == 1)


def masked_sets_bound(table, sequence, num_steps):
    """The bound by the number of masked tokens, with all sets of each number."""
    weights, total = step_weights(LENGTH, num_steps), 0.0
    for m in range(1, LENGTH + 1):
        sets = list(itertools.combinations(range(LENGTH), m))
        for masked in sets:
            state = tuple(MASK if p in masked else int(sequence[p]) for p in range(LENGTH))
            total -= weights[m] * sum(table[state][p, sequence[p]] for p in masked) / len(sets)
    return total


@pytest.mark.parametrize("num_steps", STEPS)
def test_summing_out_the_number_of_masked_tokens_changes_nothing(toy, num_steps):
    for sequence in SEQUENCES[::7]:
        expected = exact_bound(toy[1], sequence, num_steps)
        assert masked_sets_bound(toy[1], sequence, num_steps) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num_steps", [1, 2, 16])
def test_the_estimate_is_the_bound(toy, num_steps):
    model, table = toy
    chosen = SEQUENCES[[5, 50]]
    expected = sum(exact_bound(table, sequence, num_steps) for sequence in chosen)
    nats, num_tokens = bound_sums(
        model, [rows_of(np.repeat(chosen, 400, axis=0))], LENGTH, num_steps, num_samples=1
    )
    assert num_tokens == 3200
    assert nats / 400 == pytest.approx(expected, rel=1e-4 if num_steps == 1 else 0.05)


def test_the_bound_falls_as_steps_grow_where_the_model_knows_the_text():
    """The model is that of a random distribution itself: its conditionals for every set of masks."""
    joint = np.random.default_rng(0).dirichlet(np.full(len(SEQUENCES), 0.2))
    shape = joint.reshape((VOCAB,) * LENGTH)
    table = {}
    for state in itertools.product(range(VOCAB + 1), repeat=LENGTH):
        known = shape[tuple(slice(None) if token == MASK else slice(token, token + 1) for token in state)]
        rows = []
        for place in range(LENGTH):
            mass = known.sum(axis=tuple(p for p in range(LENGTH) if p != place)) + 1e-12
            rows.append(np.log(np.resize(mass / mass.sum(), VOCAB)))
        table[state] = np.array(rows)
    found = [
        sum(p * masked_sets_bound(table, s, steps) for p, s in zip(joint, SEQUENCES, strict=True))
        for steps in (1, 2, 3, 4, 8, 32)
    ]
    entropy = -np.sum(joint * np.log(joint + 1e-300))
    assert (np.diff(found) < -1e-4).all() and found[-1] > entropy - 1e-6
    assert found[0] > entropy + 0.1


def test_each_token_has_weight_1_in_the_limit_and_the_block_its_length_always():
    for count, steps in itertools.product((1, 3, 8), (1, 2, 7)):
        assert (step_weights(count, steps) * np.arange(count + 1)).sum() == pytest.approx(count)
    limit = step_weights(4, 20000)[1:]
    np.testing.assert_allclose(limit, 1 / np.arange(1, 5), rtol=1e-3)


@pytest.mark.slow
def test_blocks_of_one_token_are_the_exact_loss_of_a_split(tmp_path):
    import highnoon as hn
    from highnoon.evaluation import evaluate_model
    from highnoon.training import BlockDiffusion

    lines = [json.dumps({"text": "sun and moon " * (1 + i % 3)}) for i in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    store = tokenize(open_source(str(tmp_path / "a.jsonl")), ByteTokenizer(), tmp_path, validation_split=0.3)
    model = hn.LanguageModel(
        vocab_size=263,
        embedding_dim=8,
        num_reasoning_blocks=1,
        num_heads=2,
        ffn_dim=8,
        max_seq_length=32,
        block_pattern="attention+mlp",
    )
    model.tokenizer = ByteTokenizer()
    rows = PackedRows([store], 16, split="validation")
    with pytest.raises(ConfigError, match="trained with objective"):
        diffusion_bound(model, rows, 4)
    model.outputs_description = BlockDiffusion(mask_id=6).describe_outputs()
    exact, bound = evaluate_model(model, rows), diffusion_bound(model, rows, 1)
    assert bound.loss_at_most == pytest.approx(exact.loss, rel=1e-5)
    assert bound.bits_per_byte_at_most == pytest.approx(exact.bits_per_byte, rel=1e-5)
    assert bound.num_tokens == exact.num_tokens
    longer = diffusion_bound(model, rows, 4)
    assert "at most" in str(longer) and math.isfinite(longer.loss_at_most)
