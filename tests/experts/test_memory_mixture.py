"""A memory inside a mixture: in generation, loss, evaluation and its folder, and nothing looks ahead."""

from __future__ import annotations

import json
import types

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.evaluation import evaluate_model
from highnoon.experts import ExpertRouter, LazyMixture, MemoryMix, MemoryModel, MixtureOfModels, VectorMemory
from highnoon.experts.memory_evaluation import evaluate_memory
from highnoon.experts.memory_family import MemoryFamily
from highnoon.experts.memory_stores import DOCUMENT_NUMBERS
from highnoon.inference import SpeculativeGenerator, generate
from highnoon.models.saving import ModelFolderError
from highnoon.training import BlockDiffusion
from highnoon.vectors import VectorIndexError
from tests.experts.conftest import LENGTH, make_model, make_store
from tests.experts.test_lazy_mixture import wake
from tests.experts.test_memory_model import as_batch, decoded
from tests.vectors.conftest import folder_hash

MIX = MemoryMix(0.3, 0.05, 0.2, 12)
PIECES = (4, 1)


class PoolingRouter(ExpertRouter):
    """Weighs the experts by the mean of the tokens that it reads at once: of tokens that are yet to come."""

    def log_weights_of(self, hidden):
        return super().log_weights_of(ops.mean(hidden, axis=1, keepdims=True) + 0 * hidden)


def make_experts():
    # Large weights, so that greedy texts are not one token again and again.
    experts = [
        make_model(seed, block_pattern=pattern, initializer_range=0.5, state_dim=4)
        for seed, pattern in enumerate(("attention+mlp", "mamba2", "attention+mlp"))
    ]
    experts[2].outputs_description = BlockDiffusion(mask_id=262).describe_outputs()
    return experts


def mixture_of(experts, router_class=ExpertRouter):
    keras.utils.set_random_seed(4)
    router = router_class.for_experts(experts, embedding_dim=8, num_heads=2, ffn_dim=8)
    wake(router)
    return MixtureOfModels(experts, router, top_k=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """`mixture`, `store`, the `folder` of its memory, `memory`, and `lazy` and `model` with the memory."""
    folder = tmp_path_factory.mktemp("mixture")
    store, mixture = make_store(folder), mixture_of(make_experts())
    memory = VectorMemory.build(mixture, store, folder / "memory", row_length=LENGTH)
    return types.SimpleNamespace(
        store=store,
        mixture=mixture,
        memory=memory,
        folder=folder / "memory",
        model=MemoryModel(mixture, memory, MIX),
        lazy=MemoryModel(LazyMixture(mixture, PIECES), memory, MIX),
    )


def training_batch(whole):
    return whole.memory.rows(whole.store, LENGTH, split="train").view(0).read(0, 4)


def test_the_states_are_those_of_the_trunk_and_all_forms_give_one_distribution(whole):
    ids = np.stack([whole.store.tokens(document)[:20] for document in (3, 5)])
    states = whole.memory.reader(whole.mixture).states(as_batch(ids))
    np.testing.assert_allclose(states, np.asarray(whole.mixture.router.backbone(ids)), atol=1e-5)
    expected = whole.memory.log_distribution(whole.mixture, as_batch(ids), MIX)
    found = [np.asarray(whole.model(as_batch(ids)))]
    found += [decoded(model, ids, [7, *[1] * 5, 8]) for model in (whole.model, whole.lazy)]
    for log_probs in found:  # the mask of the diffusion expert has no probability
        np.testing.assert_allclose(np.maximum(log_probs, -60), np.maximum(expected, -60), atol=2e-3)
    plain = whole.memory.log_distribution(whole.mixture, as_batch(ids), MemoryMix(0.0))
    assert np.abs(expected - plain).max() > 0.5


def test_a_document_does_not_find_itself_in_the_loss_and_in_an_evaluation(whole):
    batch, before = training_batch(whole), folder_hash(whole.folder)
    terms = whole.model.loss_terms(batch, training=False, token_losses=True)
    expected = whole.memory.log_probs(whole.mixture, batch, MIX)
    is_label = batch["loss_weights"] > 0
    np.testing.assert_allclose(np.asarray(terms["token_losses"])[is_label], -expected[is_label], atol=2e-3)
    assert float(terms["loss_sum"]) == pytest.approx(-expected.sum(), rel=1e-4)
    finding_itself = whole.model.loss_terms({**batch, DOCUMENT_NUMBERS: 0 * batch[DOCUMENT_NUMBERS]})
    assert float(finding_itself["loss_sum"]) < float(terms["loss_sum"]) - 10
    for split in ("train", "validation"):
        rows = whole.memory.rows(whole.store, LENGTH, split=split)
        found = evaluate_model(whole.model, rows, batch_size=3)
        batch = rows.view(0).read(0, 99)
        total = whole.memory.log_probs(whole.mixture, batch, MIX).sum()
        assert found.loss * found.num_tokens == pytest.approx(-total, rel=1e-4)
    chosen = evaluate_memory(whole.memory, whole.mixture, rows, num_neighbors=12)
    assert chosen.mix.weight > 0
    assert folder_hash(whole.folder) == before, "evaluating writes nothing"


def test_rows_that_do_not_say_whose_they_are_are_refused(whole):
    rows = hn.data.PackedRows([whole.store], LENGTH, split="validation")
    with pytest.raises(ConfigError, match="without `document_numbers`"):
        evaluate_model(whole.model, rows)
    with pytest.raises(ConfigError, match="must hold `document_numbers`, so that no document finds itself"):
        whole.model.loss_terms(rows.view(0).read(0, 1))


def test_a_saved_mixture_comes_back_with_its_memory(whole, tmp_path):
    ids = whole.store.tokens(3)[None, :12]
    for model in (whole.model, whole.lazy):
        again = hn.load_model(hn.save_model(model, tmp_path / "model"))
        assert type(again) is MemoryModel and again.mix == MIX
        assert type(again.model) is type(model.model) and again.tokenizer.vocab_size == 262 + 1
        np.testing.assert_allclose(again(ids), whole.model(ids), atol=1e-6)
        batch = training_batch(whole)
        assert float(again.loss_terms(batch)["loss_sum"]) == pytest.approx(
            float(whole.model.loss_terms(batch)["loss_sum"]), rel=1e-6
        )
    greedy = {"max_length": 2, "temperature": 0.0}
    assert again.generate(ids[0].tolist(), **greedy) == generate(whole.lazy, ids[0].tolist(), **greedy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_keys": 10**9},
            "num_keys=1,000,000,000 takes at least 16,000,000,000 bytes; received a file of",
        ),
        ({"num_keys": -1}, "`num_keys` must be"),
        ({"piece_lengths": 7}, "`piece_lengths` must decrease and end in 1"),
        ({"piece_lengths": [1, 4]}, "`piece_lengths` must decrease and end in 1"),
        ({"piece_lengths": ["4", 1]}, "`piece_lengths` must be a whole number"),
        ({"mix": {"wait": 0.5}}, "wait"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line_before_anything_is_made(
    whole, tmp_path, change, message, monkeypatch
):
    folder = hn.save_model(whole.model, tmp_path / "model")
    (folder / "manifest.json").unlink()
    description = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(description | change))
    monkeypatch.setattr(MemoryFamily, "make", lambda *_: pytest.fail("a model was made"))
    with pytest.raises(ModelFolderError, match=message) as error:
        hn.load_model(folder)
    assert "\n" not in str(error.value)


def test_another_mixture_is_refused_by_its_hash(whole):
    other = mixture_of([make_model(7), make_model(8), make_model(9)])
    with pytest.raises(VectorIndexError, match="give that model, or build the memory again"):
        MemoryModel(other, whole.memory)


# The whole: a mixture with memory, lazy experts, and a drafter.


def require_causal(model, ids):
    """Changing the tokens after t changes no logit up to t, read in pieces in which experts catch up."""
    sizes = [9, *[1] * 6, 5]
    before = decoded(model, ids, sizes)
    for now in (4, 10, 16):
        changed = ids.copy()
        changed[:, now + 1 :] = 97 + changed[:, now + 1 :] % 20
        after = decoded(model, changed, sizes)
        np.testing.assert_allclose(after[:, : now + 1], before[:, : now + 1], atol=1e-4)
        assert np.abs(after[:, now + 1 :] - before[:, now + 1 :]).max() > 0.1


def test_later_tokens_change_no_logit_before_them(whole):
    ids = np.stack([whole.store.tokens(document)[:20] for document in (3, 5)])
    require_causal(whole.lazy, ids)
    require_causal(whole.model, ids)


def test_the_same_test_fails_for_a_router_that_pools_over_time(whole, tmp_path):
    mixture = mixture_of(whole.mixture.experts, PoolingRouter)
    memory = VectorMemory.build(mixture, whole.store, tmp_path / "memory", row_length=LENGTH)
    ids = np.stack([whole.store.tokens(document)[:20] for document in (3, 5)])
    for model in (MemoryModel(mixture, memory, MIX), MemoryModel(LazyMixture(mixture, PIECES), memory, MIX)):
        with pytest.raises(AssertionError):
            require_causal(model, ids)


def test_batch_mates_and_padding_change_no_logit(whole):
    ids = np.stack([whole.store.tokens(document)[:16] for document in (3, 5)])
    sizes = [4, *[1] * 6, 6]
    together = decoded(whole.lazy, ids, sizes)
    np.testing.assert_allclose(decoded(whole.lazy, ids[1:], sizes)[0], together[1], atol=1e-4)
    padded = np.concatenate((np.full((2, 5), 7, np.int32), ids), axis=1)
    padding = np.array([5, 5], np.int32)
    found = decoded(whole.lazy, padded, [9, *sizes[1:]], padding)[:, 5:]
    np.testing.assert_allclose(found, together, atol=1e-3)


@pytest.mark.slow
def test_text_with_a_drafter_is_that_of_plain_decoding_whatever_the_batch_mates(whole):
    prompts = [whole.store.tokens(3)[:9].tolist(), whole.store.tokens(5)[:4].tolist()]
    options = {"max_length": 20, "temperature": 0}
    expected = generate(whole.model, prompts, **options)
    assert generate(whole.lazy, prompts, **options) == expected
    drafter = whole.mixture.experts[2]
    generator = SpeculativeGenerator(whole.lazy, drafter, acceptance_rate_target=None, lowest_speed=None)
    assert generator.generate(prompts, **options) == expected
    assert generator.acceptance_rate >= 0
    other = [whole.store.tokens(1)[:7].tolist(), prompts[1]]
    assert generator.generate(other, **options)[1] == expected[1]
