"""Cached decoding with a memory: the distribution of the memory, token by token."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.config import ConfigError
from highnoon.experts.memory_mix import MemoryMix
from highnoon.experts.memory_model import MemoryModel
from highnoon.experts.memory_stores import DOCUMENT_NUMBERS
from highnoon.experts.vector_memory import VectorMemory
from highnoon.inference import generate
from highnoon.vectors import VectorIndexError
from tests.experts.conftest import make_model

MIXES = [MemoryMix(0.4, 0.05, 0.2, 12), MemoryMix(0.3, 0.05, 0.0, 500)]


def as_batch(ids, document=0):
    ones = np.ones_like(ids)
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).astype("int32")
    numbers = np.full_like(ids, document)
    return {"token_ids": ids, "segment_ids": ones, "positions": positions, DOCUMENT_NUMBERS: numbers}


def decoded(model, ids, pieces, padding=None):
    cache, parts, start = model.initial_cache(len(ids), 40), [], 0
    for size in pieces:
        logits, cache = model.decode(ids[:, start : start + size], cache, start, padding)
        parts.append(np.asarray(logits))
        start += size
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("pieces", [[20], [7, 1, 1, 11]])
def test_decoding_gives_the_distribution_of_the_memory(case, mix, pieces):
    ids = np.stack([case.store.tokens(document)[:20] for document in (3, 5)])
    expected = case.memory.log_distribution(case.model, as_batch(ids), mix)
    found = decoded(MemoryModel(case.model, case.memory, mix), ids, pieces)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_an_excluded_document_is_not_found(case):
    ids = case.store.tokens(0)[None, :20]
    mix = MIXES[0]
    found = decoded(MemoryModel(case.model, case.memory, mix, document=1), ids, [20])
    expected = case.memory.log_distribution(case.model, as_batch(ids, document=1), mix)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(found - decoded(MemoryModel(case.model, case.memory, mix), ids, [20])).max() > 0.5


def test_padding_at_the_front_changes_nothing(case):
    ids = case.store.tokens(3)[None, :12]
    model = MemoryModel(case.model, case.memory, MIXES[0])
    padded = np.concatenate((np.full((1, 5), 7, np.int32), ids), axis=1)
    found = decoded(model, padded, [9, 8], np.array([5], np.int32))[:, 5:]
    np.testing.assert_allclose(found, decoded(model, ids, [12]), atol=1e-3)


def test_the_logits_of_the_last_token_alone_are_the_same(case):
    ids = case.store.tokens(3)[None, :12]
    model = MemoryModel(case.model, case.memory, MIXES[0])
    last, _ = model.decode(ids, model.initial_cache(1, 40), 0, last_only=True)
    np.testing.assert_allclose(np.asarray(last)[:, 0], decoded(model, ids, [12])[:, -1], atol=1e-5)


def test_later_tokens_change_no_logit_before_them(case):
    ids = case.store.tokens(3)[None, :16]
    model = MemoryModel(case.model, case.memory, MIXES[0])
    changed = ids.copy()
    changed[:, 9:] = changed[:, 9:][:, ::-1]
    found, before = decoded(model, changed, [16]), decoded(model, ids, [16])
    np.testing.assert_allclose(found[:, :9], before[:, :9], atol=1e-5)
    assert np.abs(found[:, 9:] - before[:, 9:]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("mix", MIXES)
def test_generation_is_that_of_the_distribution_without_a_cache(case, mix):
    model = MemoryModel(case.model, case.memory, mix)
    prompts = [case.store.tokens(3)[:9].tolist(), case.store.tokens(5)[:4].tolist()]
    found = generate(model, prompts, max_length=8, temperature=0)
    for prompt, continued in zip(prompts, found, strict=True):
        ids = list(prompt)
        for token in continued[len(prompt) :]:
            batch = as_batch(np.asarray([ids], np.int32))
            last = case.memory.log_distribution(case.model, batch, mix)[0, -1]
            assert last[token] >= last.max() - 1e-3
            ids.append(token)
        assert len(ids) > len(prompt)


@pytest.mark.slow
def test_the_own_tokens_alone_repeat_a_text(case):
    ids = np.asarray([[2, *([40, 41, 42, 43] * 4)]], np.int32)
    mix = MemoryMix(weight=0.0, temperature=0.001, cache_weight=0.9)
    found = generate(MemoryModel(case.model, case.memory, mix), ids, max_length=4, temperature=0)
    assert found[0, -4:].tolist() == [40, 41, 42, 43]


def test_another_model_and_an_empty_memory_are_refused(case):
    with pytest.raises(VectorIndexError, match="give that model, or build the memory again"):
        MemoryModel(make_model(seed=1), case.memory)
    memory = VectorMemory.load(case.folder, case.model)
    memory.remove_documents(list(range(1, 9)))
    with pytest.raises(ConfigError, match="must hold a token that may be found"):
        MemoryModel(case.model, memory)
