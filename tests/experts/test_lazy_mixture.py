"""Lazy experts: those that are not chosen do not run, and catch up to the cache of one that did."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.experts import ExpertRouter, LazyMixture, MixtureOfModels
from highnoon.experts.kept_experts import kept_log_weights
from highnoon.inference import SpeculativeGenerator, generate
from highnoon.inference.decoding.decoder import decoder_for
from highnoon.training import BlockDiffusion

VOCAB, PIECES = 24, (4, 1)
SHAPE = {"vocab_size": VOCAB, "embedding_dim": 8, "num_reasoning_blocks": 1, "num_heads": 2, "ffn_dim": 8}
PROMPTS = [[2, 9, 3], [4], [1, 2, 3, 4, 5, 6], [5, 6, 7] * 4]


def make_expert(pattern, seed, is_diffusion=False):
    keras.utils.set_random_seed(seed)
    model = hn.LanguageModel(
        block_pattern=pattern, max_seq_length=96, state_dim=4, initializer_range=0.6, **SHAPE
    )
    if is_diffusion:
        model.outputs_description = BlockDiffusion(mask_id=VOCAB - 1).describe_outputs()
    return model


def wake(router):
    rng = np.random.default_rng(4)
    for weight in router.trainable_variables:
        weight.assign(rng.normal(size=weight.shape))


def make_mixture(top_k=1, router_class=ExpertRouter):
    """Attention, a state space and block diffusion, under a router that changes its mind often."""
    experts = [
        make_expert("attention+mlp", 1),
        make_expert("mamba2", 2),
        make_expert("attention+mlp", 3, is_diffusion=True),
    ]
    keras.utils.set_random_seed(4)
    router = router_class.for_experts(experts, embedding_dim=8, num_heads=2, ffn_dim=8)
    wake(router)
    return MixtureOfModels(experts, router, top_k=top_k)


@pytest.fixture(scope="module")
def mixture():
    return make_mixture()


@pytest.fixture(scope="module")
def lazy(mixture):
    return LazyMixture(mixture, PIECES)


def decoded(model, ids, sizes, padding=None):
    cache, parts, start = model.initial_cache(len(ids), 40), [], 0
    for size in sizes:
        logits, cache = model.decode(ids[:, start : start + size], cache, start, padding)
        parts.append(np.asarray(logits))
        start += size
    return np.concatenate(parts, axis=1), cache


def some_ids(rows=1, length=18):
    return np.random.default_rng(6).integers(0, VOCAB - 1, (rows, length)).astype("int32")


def test_kept_weights_are_those_of_the_largest_divided_by_their_sum():
    weights = np.random.default_rng(0).dirichlet(np.ones(5), (2, 7)).astype("float32")
    for top_k in (1, 2, 4, 5, None):
        expected = weights.copy()
        if top_k is not None:
            smallest = np.sort(weights, axis=-1)[..., [5 - top_k]]
            expected[weights < smallest] = 0
        expected /= expected.sum(-1, keepdims=True)
        found = np.exp(kept_log_weights(np.log(weights), top_k))
        np.testing.assert_allclose(found, expected, atol=1e-6)
    ties = np.exp(kept_log_weights(np.log(np.full((1, 1, 4), 0.25, "float32")), 2))
    assert ties.tolist() == [[[0.5, 0.5, 0, 0]]]


def test_the_plain_form_has_the_distribution_of_the_kept_experts_alone(mixture):
    ids = some_ids(2)
    weights = np.asarray(mixture.router(ids), np.float64)
    chosen = weights.argmax(-1)
    logits = [
        np.asarray(kind.logits(expert, {"token_ids": ids}), np.float64)
        for kind, expert in zip(mixture.kinds, mixture.experts, strict=True)
    ]
    logits = np.take_along_axis(np.stack(logits, -1), chosen[:, :, None, None], axis=-1)[..., 0]
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    found = np.asarray(mixture(ids))
    np.testing.assert_allclose(np.exp(found), np.exp(expected), atol=1e-5)
    assert len(np.unique(chosen)) == 3
    every = np.asarray(mixture(ids, training=True))
    assert np.abs(np.exp(every) - np.exp(found)).max() > 1e-2, "training uses all experts"


def test_lazy_decoding_gives_the_logits_and_the_caches_of_the_plain_form(mixture, lazy):
    ids = some_ids()
    sizes = [3, *[1] * 15]
    expected, plain = decoded(mixture, ids, sizes)
    found, cache = decoded(lazy, ids, sizes)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert any(_num_read(cache, number) < 18 for number in range(3))
    mixture.top_k = 3  # the next token uses all experts, so those that are behind catch up
    try:
        _, cache = lazy.decode(ids[:, -1:], cache, 18)
        _, plain = mixture.decode(ids[:, -1:], plain, 18)
    finally:
        mixture.top_k = 1
    for number in range(3):
        name = f"expert_{number}"
        pairs = zip(*map(keras.tree.flatten, (cache[name]["cache"], plain[name])), strict=True)
        for one, two in pairs:
            np.testing.assert_allclose(one, two, atol=1e-4)


def _num_read(cache, number):
    of_expert = cache[f"expert_{number}"]
    return int(np.sum(of_expert["is_read"][0]) if "is_read" in of_expert else of_expert["num_read"][0])


class Counted:
    """An expert kind that counts, while the graph runs, the tokens that it reads."""

    def __init__(self, kind):
        self._kind, self.lengths, self.traces = kind, [], 0

    def __getattr__(self, name):
        return getattr(self._kind, name)

    def decode(self, model, token_ids, cache, index, padding=None):
        self.traces += 1
        self.lengths.append(token_ids.shape[1])
        return self._kind.decode(model, token_ids, cache, index, padding)


def test_an_expert_that_is_not_chosen_does_not_run_and_reads_each_token_once(mixture):
    lazy, ids = LazyMixture(mixture, PIECES), some_ids()
    kinds = mixture.kinds
    mixture.kinds = tuple(map(Counted, kinds))
    try:
        _, cache = decoded(lazy, ids, [1] * 18)
        chosen = np.asarray(mixture.router(ids)).argmax(-1)[0]
        for number, kind in enumerate(mixture.kinds):
            own = np.flatnonzero(chosen == number)
            assert 0 < len(own) < 18
            read = int(own[-1]) + 1
            # One piece of each chosen token, and what was missed in pieces of 4 and 1.
            gaps = np.diff(np.concatenate([[-1], own])) - 1
            assert len(kind.lengths) == len(own) + sum(gap // 4 + gap % 4 for gap in gaps.tolist())
            assert sum(kind.lengths) == read == _num_read(cache, number)
    finally:
        mixture.kinds = kinds


@pytest.mark.slow
def test_the_text_is_that_of_the_plain_form_greedy_and_seeded(mixture, lazy):
    for prompts, options in ((PROMPTS, {"temperature": 0}), (PROMPTS[:1], {"seed": 3, "top_k": 0})):
        expected = generate(mixture, prompts, max_length=30, **options)
        assert generate(lazy, prompts, max_length=30, **options) == expected
    traces = decoder_traces(lazy)
    for seed in range(4):
        generate(lazy, PROMPTS[3:], max_length=44, seed=seed, top_k=0)
    assert decoder_traces(lazy) == traces, "a gap compiles nothing"


def decoder_traces(model):
    decoder = decoder_for(model)
    return sum(f.experimental_get_tracing_count() for f in (decoder._read, *decoder._compiled.values()))


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["attention+mlp", "mamba2"])
def test_speculation_rolls_a_lazy_mixture_back(pattern):
    experts = [make_expert("attention+mlp", 0), make_expert(pattern, 1)]
    mixture = MixtureOfModels(experts, top_k=1, embedding_dim=8, num_heads=2, ffn_dim=8)
    wake(mixture.router)
    lazy = LazyMixture(mixture, PIECES)
    expected = generate(mixture, PROMPTS, max_length=24, temperature=0)
    generator = SpeculativeGenerator(lazy, acceptance_rate_target=None)
    assert generator.generate(PROMPTS, max_length=24, temperature=0) == expected
    assert generator.acceptance_rate > 0


def test_a_top_k_is_saved_with_the_mixture(mixture, tmp_path):
    again = hn.load_model(hn.save_model(mixture, tmp_path / "mixture"))
    assert again.top_k == 1
    np.testing.assert_array_equal(again(some_ids()), mixture(some_ids()))


@pytest.mark.parametrize("top_k", [0, 4, 1.5])
def test_a_top_k_out_of_its_range_is_named(mixture, top_k):
    with pytest.raises(ConfigError, match="`top_k` must"):
        MixtureOfModels(mixture.experts, mixture.router, top_k=top_k)
    mixture.top_k = top_k
    try:
        with pytest.raises(ConfigError, match="`top_k` must"):
            mixture(some_ids())
    finally:
        mixture.top_k = 1


def test_a_mixture_that_uses_all_experts_and_other_arguments_are_refused(mixture):
    every = MixtureOfModels(mixture.experts, mixture.router)
    with pytest.raises(ConfigError, match="must have a `top_k` below its 3 experts.*; received top_k=None"):
        LazyMixture(every)
    with pytest.raises(ConfigError, match="`mixture` must be a MixtureOfModels; received"):
        LazyMixture(mixture.experts[0])
    for lengths in ((), (4, 2), (1, 4), (4, 4, 1)):
        with pytest.raises(ConfigError, match="`piece_lengths` must decrease and end in 1"):
            LazyMixture(mixture, lengths)
