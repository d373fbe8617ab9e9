"""Drafted and checked tokens have the law of tokens drawn one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops
from scipy import stats

import highnoon as hn
from highnoon.inference import SpeculativeGenerator, generate

PROMPTS = [[2, 9, 30], [40], list(range(10, 31)), [5, 6, 7] * 4]
NUM_ROWS, NUM_NEW = 2048, 12


def small(pattern: str, vocab_size: int = 60, scale: float = 0.4, noise: float = 0.0):
    """A model with large random weights; `noise` makes a draft that is often right."""
    model = hn.HSMN(
        vocab_size=vocab_size,
        embedding_dim=32,
        max_seq_length=256,
        num_reasoning_blocks=1,
        num_heads=2,
        num_kv_heads=1,
        block_pattern=pattern,
    )
    rng, other = np.random.default_rng(0), np.random.default_rng(1)
    for weight in model.trainable_weights:
        own = rng.normal(scale=scale, size=weight.shape)
        weight.assign(own + other.normal(scale=noise, size=weight.shape))
    return model


@pytest.mark.slow
def test_greedy_output_is_that_of_plain_decoding_with_either_draft(new_model) -> None:
    target, draft = new_model(12), new_model(12, seed=2)
    prompts = [[2, 9, 3], [4], [1, 2, 3, 4, 5, 6], [5, 6, 7] * 4]
    expected = generate(target, prompts, max_length=30, temperature=0)
    for model in (None, draft):
        generator = SpeculativeGenerator(target, model, num_speculative_tokens=3, acceptance_rate_target=None)
        assert generator.generate(prompts, max_length=30, temperature=0) == expected
        assert 0 < generator.acceptance_rate < 1
        assert 1 < generator.tokens_per_pass < 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern, has_draft_model",
    [
        ("attention+mlp", True),
        ("mamba2+mlp", True),
        ("mamba2+mlp", False),
        ("sliding_attention, gated_delta_rule+mlp", True),
        ("bdh(multiplier=2), bdh(multiplier=4)", True),
    ],
)
def test_every_pattern_says_greedily_what_it_says_in_plain_decoding(pattern: str, has_draft_model) -> None:
    target, draft = small(pattern), small(pattern, noise=0.03) if has_draft_model else None
    generator = SpeculativeGenerator(target, draft, acceptance_rate_target=None)
    expected = target.generate(PROMPTS, max_length=30, temperature=0)
    assert generator.generate(PROMPTS, max_length=30, temperature=0) == expected
    assert 0 < generator.acceptance_rate < 1


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["attention+mlp", "mamba2+mlp"])
def test_a_perfect_draft_is_always_accepted(pattern: str) -> None:
    target = small(pattern)
    generator = SpeculativeGenerator(target, target, num_speculative_tokens=3, acceptance_rate_target=None)
    rows = generator.generate([[2, 9, 30], [7] * 9], max_length=24, seed=1)
    assert [len(row) for row in rows] == [27, 33]
    assert generator.acceptance_rate == 1.0
    assert generator.tokens_per_pass == 4.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 5, "temperature": 1.3, "top_p": 0.8, "repetition_penalty": 1.5},
    ],
    ids=str,
)
def test_look_up_gives_what_plain_decoding_gives_with_the_same_seed(model, options: dict) -> None:
    generator = SpeculativeGenerator(model, acceptance_rate_target=None)
    expected = generate(model, PROMPTS, max_length=40, seed=4, **options)
    assert generator.generate(PROMPTS, max_length=40, seed=4, **options) == expected


@pytest.mark.slow
def test_rows_end_where_plain_decoding_ends_them(printable_model, tokenizer) -> None:
    texts = ["abab", "the river", "x"]
    options = {"max_length": 40, "seed": 2, "tokenizer": tokenizer}
    whole = generate(printable_model, texts, strip_prompt=True, **options)
    generator = SpeculativeGenerator(printable_model, acceptance_rate_target=None)
    (stop_id,) = tokenizer.encode(whole[0][9], add_special_tokens=False)
    for stops in ([whole[1][5:7]], [stop_id], [whole[2][3:5], whole[0][2:4]]):
        expected = generate(printable_model, texts, stop_sequences=stops, **options)
        assert generator.generate(texts, stop_sequences=stops, **options) == expected
        assert expected != [text + new for text, new in zip(texts, whole, strict=True)]


@pytest.mark.slow
def test_a_target_of_acceptance_lengthens_good_drafts_and_shortens_bad_ones(new_model) -> None:
    target, other = new_model(vocab_size=30), new_model(vocab_size=30, seed=5)
    good = SpeculativeGenerator(target, target, num_speculative_tokens=2, acceptance_rate_target=0.7)
    bad = SpeculativeGenerator(target, other, num_speculative_tokens=2, acceptance_rate_target=0.7)
    for generator in (good, bad):
        assert generator.generate([4, 5], max_length=100, temperature=0) == generate(
            target, [4, 5], max_length=100, temperature=0
        )
    assert (good.draft_length, bad.draft_length) == (4, 1)


@pytest.mark.slow
def test_prompts_of_other_lengths_compile_nothing_new(new_model) -> None:
    model, draft = new_model(), new_model(seed=1)
    generator = SpeculativeGenerator(model, draft, acceptance_rate_target=None)
    generator.generate(list(range(10, 30)), max_length=5, seed=1)
    traces = model.num_traces, draft.num_traces
    generator.generate(list(range(10, 40)), max_length=30, seed=2, temperature=0.5)
    assert (model.num_traces, draft.num_traces) == traces


def test_a_generator_that_has_not_run_has_no_rates(model) -> None:
    generator = SpeculativeGenerator(model)
    assert math.isnan(generator.acceptance_rate) and math.isnan(generator.tokens_per_pass)


def test_bad_arguments_are_named(model, new_model) -> None:
    with pytest.raises(ValueError, match="`num_speculative_tokens` must be .* at least 1; received 0"):
        SpeculativeGenerator(model, num_speculative_tokens=0)
    with pytest.raises(ValueError, match="`acceptance_rate_target` must be in .* received 1.5"):
        SpeculativeGenerator(model, acceptance_rate_target=1.5)
    with pytest.raises(ValueError, match="the draft has 9 token ids and the target 263"):
        SpeculativeGenerator(model, new_model(vocab_size=9))


def places_in_distribution(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """F(x - 1) + u p(x) of each token x: uniform in [0, 1) exactly where x was drawn from softmax(logits)."""
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    # In order of likelihood, so that a distribution too sharp or too flat is seen.
    order = np.argsort(-shares, -1)
    shares, ranks = np.take_along_axis(shares, order, -1), np.argsort(order, -1)
    tokens = np.take_along_axis(ranks, tokens[..., None], -1)[..., 0]
    above = np.take_along_axis(np.cumsum(shares, -1), tokens[..., None], -1)[..., 0]
    own = np.take_along_axis(shares, tokens[..., None], -1)[..., 0]
    return above - np.random.default_rng(9).random(own.shape) * own


def drawn_and_its_logits(target, draft, prompt: list[int], **options) -> tuple[np.ndarray, np.ndarray, float]:
    """Tokens drawn in many rows, the logits that a full forward pass has for them, the acceptance."""
    generator = SpeculativeGenerator(target, draft, acceptance_rate_target=None)
    rows = generator.generate(np.tile(prompt, (NUM_ROWS, 1)), max_length=NUM_NEW, top_k=0, seed=11, **options)
    logits = ops.convert_to_numpy(target(rows, training=False))[:, len(prompt) - 1 : -1]
    return rows[:, len(prompt) :], logits.astype("float64"), generator.acceptance_rate


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern, has_draft_model",
    [
        ("attention+mlp", True),
        ("mamba2+mlp", True),
        ("mamba2+mlp", False),
    ],
)
def test_drawn_tokens_fit_the_full_forward_pass(pattern: str, has_draft_model: bool) -> None:
    target, draft = (small(pattern, vocab_size=8, noise=noise) for noise in (0.0, 0.2))
    model = draft if has_draft_model else None
    tokens, logits, acceptance = drawn_and_its_logits(target, model, [3, 5, 3, 5], temperature=0.8)
    assert tokens.size > 20_000
    for temperature, is_right in ((0.8, True), (0.9, False)):
        places = places_in_distribution(logits / temperature, tokens)
        pvalue = stats.chisquare(np.histogram(places, bins=40, range=(0, 1))[0]).pvalue
        assert pvalue > 0.01 if is_right else pvalue < 1e-6
    assert 0.05 < acceptance < 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"top_k": 4}, {"top_k": 0, "top_p": 0.8}, {"top_k": 0, "repetition_penalty": 1.4}], ids=str
)
def test_tokens_have_the_shares_of_plain_sampling_under_every_option(new_model, options: dict) -> None:
    target, draft = new_model(8, sharpness=1.0), new_model(8, sharpness=1.0, seed=1)
    prompt = np.tile([3, 5], (NUM_ROWS, 1))
    generator = SpeculativeGenerator(target, draft, acceptance_rate_target=None)
    checked = generator.generate(prompt, max_length=NUM_NEW, seed=1, **options)
    plain = generate(target, prompt, max_length=NUM_NEW, seed=2, **options)
    assert 0.1 < generator.acceptance_rate < 0.9
    pairs = [
        np.bincount(rows[:, 1:-1].ravel() * 8 + rows[:, 2:].ravel(), minlength=64)
        for rows in (checked, plain)
    ]
    table = np.stack(pairs)[:, np.sum(pairs, axis=0) > 20]
    assert table.sum() > 20_000
    assert stats.chi2_contingency(table).pvalue > 0.01
