"""Drafts by block diffusion: the distribution is the target's, and a wrong q is found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from keras import ops
from scipy import stats

from highnoon.inference import SpeculativeGenerator, generate
from highnoon.inference.decoding.decoder import Decoder, decoder_for
from highnoon.inference.decoding.logits import draw
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.inference.speculative import drafters
from highnoon.inference.speculative.block_drafter import BlockDrafter
from highnoon.inference.speculative.drafters import drafter_named, register_drafter
from highnoon.inference.speculative.drafts import Drafts
from tests.inference.block_diffusion.test_generate_blocks import p_value
from tests.training.objectives.block_diffusion_toy import MASK, make_toy

NEW = 4
NUM_SAMPLES, AT_ONCE = 20_000, 4_000
SEQUENCES = np.array(list(itertools.product(range(MASK), repeat=NEW)), "int32")


@pytest.fixture(scope="module")
def drafting():
    return make_toy(seed=1)


@pytest.fixture(scope="module")
def target():
    """The drafter's model with noise in its weights, so that drafts are often right."""
    model, rng = make_toy(seed=1), np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(rng.normal(scale=0.3, size=weight.shape))
    return model


def plain_toy(pattern="attention+mlp", **fields):
    """A model of the same ids that predicts the next token itself."""
    model = make_toy(pattern, seed=2, initializer_range=0.7, **fields)
    model.outputs_description = None
    return model


class Biased(BlockDrafter):
    """Draws from a sharper distribution than the one that it reports."""

    name = "biased"

    def draft(self, model, window):
        drafts, cache = super().draft(model, window)
        sharper = window.flat(2.0 * ops.log(drafts.probabilities))
        drawn = window.unflat(draw(sharper, window.flat(window.random("draft_uniforms"))))
        ids = ops.where(window.is_known, window.known_ids, ops.roll(drawn, 1, axis=1))
        return Drafts(ids, drafts.is_draft, drafts.probabilities), cache


def exact_probabilities(target):
    """Of each sequence of four tokens after the token 0, token by token."""
    rows = np.concatenate([np.zeros((len(SEQUENCES), 1), "int32"), SEQUENCES], axis=1)
    model = decoding_model(target)
    logits, _ = model.decode(rows[:, :-1], model.initial_cache(len(rows), NEW), 0)
    logits = np.asarray(logits, np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.exp(np.take_along_axis(log_probs, rows[:, 1:, None], axis=-1).sum((1, 2)))


def counted(generator, num_samples=NUM_SAMPLES):
    counts = np.zeros(len(SEQUENCES))
    for seed in range(num_samples // AT_ONCE):
        prompts = np.zeros((AT_ONCE, 1), "int32")
        rows = generator.generate(prompts, max_length=NEW, top_k=0, seed=seed, strip_prompt=True)
        np.add.at(counts, rows @ MASK ** np.arange(NEW)[::-1], 1)
    return counts


@pytest.mark.slow
def test_samples_pass_a_chi_square_test_that_a_biased_drafter_fails(target, drafting):
    register_drafter(Biased)
    exact = exact_probabilities(target)
    options = {"num_speculative_tokens": 3, "acceptance_rate_target": None, "lowest_speed": None}
    right = SpeculativeGenerator(target, drafting, **options)
    assert p_value(counted(right), exact) > 0.01
    assert 0.1 < right.acceptance_rate < 0.9 and right.tokens_per_pass > 1.2
    wrong = SpeculativeGenerator(target, drafting, drafter="biased", **options)
    assert p_value(counted(wrong, 2 * AT_ONCE), exact) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["attention+mlp", "mamba2+mlp"])
def test_greedy_text_is_that_of_plain_decoding_while_drafts_turn_on_and_off(drafting, pattern):
    target = plain_toy(pattern, state_dim=4)
    prompts = [[0, 1, 2], [3], [1, 2, 0, 0, 1, 2, 2]]
    expected = generate(target, prompts, max_length=50, temperature=0)
    always = SpeculativeGenerator(target, drafting, acceptance_rate_target=None, lowest_speed=None)
    assert always.generate(prompts, max_length=50, temperature=0) == expected
    assert 0 < always.acceptance_rate <= 1
    switched = SpeculativeGenerator(target, drafting, acceptance_rate_target=None)
    assert switched.lowest_speed == 0.95
    switched._switches[3] = Alternating()
    assert switched.generate(prompts, max_length=50, temperature=0) == expected
    # The draft model has read what passes without drafts have read, so its drafts are as good.
    assert switched.acceptance_rate == pytest.approx(always.acceptance_rate, abs=0.15)


class Alternating:
    """Drafts in every second turn, or never."""

    def __init__(self, is_drafting=True):
        self.number, self.is_drafting, self.readings = 0, is_drafting, []

    def turn(self, num_drafts, num_unread):
        from highnoon.inference.speculative.draft_switch import Turn

        self.number += 1
        return Turn(self.is_drafting and self.number % 2 == 0, 3)

    def record(self, *_):
        pass

    def record_reading(self, num_tokens, seconds):
        self.readings.append((num_tokens, seconds))


@pytest.mark.slow
def test_the_draft_model_reads_no_prompt_before_a_draft_and_the_switch_is_told_what_it_read(
    drafting, monkeypatch
):
    target, lengths = plain_toy(), []
    draft_model = decoding_model(drafting)
    decoder, read = decoder_for(draft_model), Decoder.read

    def counted_read(self, token_ids, *args):
        if self is decoder:
            lengths.append(token_ids.shape[1])
        return read(self, token_ids, *args)

    monkeypatch.setattr(Decoder, "read", counted_read)
    generator = SpeculativeGenerator(target, draft_model, acceptance_rate_target=None)
    switch = generator._switches[1] = Alternating(is_drafting=False)
    generator.generate([[0, 1, 2]], max_length=12, temperature=0)
    assert lengths == [] and np.isnan(generator.acceptance_rate)
    switch.is_drafting = True
    for _ in range(2):  # what compiles is not measured
        switch.number = 0
        generator.generate([[0, 1, 2]], max_length=12, temperature=0)
    assert lengths[0] == 16 + 3 and all(length == 3 for length in lengths if length < 16)
    half = lengths[len(lengths) // 2 :]
    assert [length for length, _ in switch.readings][-len(half) :] == half
    assert len(switch.readings) < len(lengths) and all(seconds > 0 for _, seconds in switch.readings)


@pytest.mark.slow
def test_a_perfect_drafter_is_always_accepted_and_reads_blocks_after_any_text(drafting):
    """Of one draft each, block diffusion is exact: its own next-token model accepts every draft."""
    options = {"num_speculative_tokens": 1, "acceptance_rate_target": None, "lowest_speed": None}
    generator = SpeculativeGenerator(drafting, drafting, **options)
    rows = generator.generate([[0, 1, 2, 1], [2]], max_length=20, seed=1, top_k=0)
    assert generator.acceptance_rate == 1.0 and generator.tokens_per_pass == 2.0
    assert max(map(max, rows)) < MASK


@pytest.mark.slow
def test_drafts_off_draw_as_plain_decoding_does(target, drafting):
    generator = SpeculativeGenerator(target, drafting, lowest_speed=0.5)
    prompts = np.zeros((500, 1), "int32")
    rows = generator.generate(prompts, max_length=8, seed=1, top_k=0)[:, 1:]
    assert np.isnan(generator.acceptance_rate) and generator.tokens_per_pass == 1.0
    plain = generate(target, prompts, max_length=8, seed=2, top_k=0)[:, 1:]
    pairs = [np.bincount((r[:, :-1] * MASK + r[:, 1:]).ravel(), minlength=9) for r in (rows, plain)]
    table = np.stack(pairs)[:, np.sum(pairs, axis=0) > 20]
    assert table.sum() > 5_000 and stats.chi2_contingency(table).pvalue > 0.01


def test_the_drafter_suits_the_model(target, drafting):
    assert SpeculativeGenerator(target, drafting)._drafter.name == "block"
    tokens = SpeculativeGenerator(target, drafting, drafter="token_by_token")
    assert tokens._drafter.name == "token_by_token" and tokens.lowest_speed is None
    assert SpeculativeGenerator(target)._drafter.name == "prompt_look_up"
    assert SpeculativeGenerator(target).lowest_speed is None


def test_bad_drafters_and_speeds_are_named(target, drafting):
    with pytest.raises(ValueError, match="drafter 'block' needs a `draft_model` that was trained with"):
        SpeculativeGenerator(target, plain_toy(), drafter="block")
    with pytest.raises(ValueError, match="'token_by_token' needs a `draft_model`; received None"):
        SpeculativeGenerator(target, drafter="token_by_token")
    with pytest.raises(ValueError, match="'prompt_look_up' takes no `draft_model`"):
        SpeculativeGenerator(target, target, drafter="prompt_look_up")
    with pytest.raises(ValueError, match="drafter.*blok.*block"):
        drafter_named("blok", None)
    with pytest.raises(ValueError, match="must be a subclass of Drafter"):
        register_drafter(int)
    for speed in (0, 1.0, "fast"):
        with pytest.raises(ValueError, match="`lowest_speed` must be in"):
            SpeculativeGenerator(target, lowest_speed=speed)


def test_a_drafter_of_another_class_cannot_take_a_name():
    class Mine(BlockDrafter):
        name = "block"

    with pytest.raises(ValueError, match="a drafter 'block' exists already"):
        register_drafter(Mine)


def test_one_drafter_cannot_take_the_name_of_another_that_was_registered(monkeypatch):
    monkeypatch.setattr(drafters, "_REGISTERED", dict(drafters._REGISTERED))

    class First(BlockDrafter):
        name = "own_drafter"

    class Second(BlockDrafter):
        name = "own_drafter"

    register_drafter(First)
    with pytest.raises(ValueError, match="a drafter 'own_drafter' exists already: .*First"):
        register_drafter(Second)
    assert drafters._REGISTERED["own_drafter"] is First
