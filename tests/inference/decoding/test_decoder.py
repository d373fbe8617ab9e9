"""A decoder is never older than its model."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import pytest

from highnoon.inference import (
    SpeculativeGenerator,
    StreamingGenerator,
    generate,
    generate_batch,
    generate_beam,
    generate_contrastive,
    log_probabilities,
)
from highnoon.inference.decoding.decoder import decoder_for
from highnoon.tokenization import ByteTokenizer

PROMPT = [2, 60, 61, 62]
VOCAB_SIZE = 263


class DenseModel(keras.Model):
    """Logits of the last token alone, by one dense layer: every change of a weight changes what it says."""

    max_seq_length = 256
    vocab_size = VOCAB_SIZE

    def __init__(self, seed=0):
        super().__init__()
        self.token_embedding = keras.layers.ReversibleEmbedding(VOCAB_SIZE, 8, name="embedding")
        self.head = keras.layers.Dense(VOCAB_SIZE, name="head")
        self.token_embedding.build((None,))
        self.head.build((None, 8))
        self.built = True
        rng = np.random.default_rng(seed)
        for weight in self.weights:
            weight.assign(rng.normal(size=weight.shape))

    @property
    def backbone(self):
        return self

    def initial_cache(self, batch_size, max_length, dtype=None):
        return {"ids": keras.ops.zeros((batch_size, max_length), "int32")}

    def step(self, token_ids, cache, index, padding=None):
        ids = keras.ops.slice_update(cache["ids"], [0, index], keras.ops.cast(token_ids, "int32"))
        return self.token_embedding(token_ids), {"ids": ids}

    def _logits(self, hidden):
        return self.head(hidden)

    def decode(self, token_ids, cache, index, padding=None):
        hidden, cache = self.step(token_ids, cache, index, padding)
        return self._logits(hidden), cache

    def call(self, token_ids):
        return self.head(self.token_embedding(token_ids))


OPTIONS = {"max_length": 6, "temperature": 0}
USES = {
    "generate": lambda model: generate(model, PROMPT, **OPTIONS),
    "batch": lambda model: generate_batch(model, [PROMPT, PROMPT[:2]], **OPTIONS),
    "beams": lambda model: generate_beam(model, PROMPT, num_beams=2, max_length=6),
    "stream": lambda model: list(
        StreamingGenerator(model, tokenizer=ByteTokenizer()).generate_stream(PROMPT, **OPTIONS)
    ),
    "log probabilities": lambda model: log_probabilities(model, PROMPT).tolist(),
}


def change_head(model):
    """LoRA factors that are far from 0, on one layer, by Keras's own method."""
    model.head.enable_lora(2)
    rng = np.random.default_rng(5)
    for factor in (model.head.lora_kernel_a, model.head.lora_kernel_b):
        factor.assign(3 * rng.normal(size=factor.shape))


def changed_twin(change):
    model = DenseModel()
    change(model)
    return model


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_lora_on_one_layer_changes_what_is_generated(use):
    model = DenseModel()
    before = use(model)
    change_head(model)
    assert use(model) == use(changed_twin(change_head)) != before


def replace_head(model):
    model.head = DenseModel(seed=9).head


def replace_embedding(model):
    model.token_embedding = DenseModel(seed=9).token_embedding


def quantize_after_growing(model):
    # One large weight makes the int8 scale coarse enough to change what is most likely.
    kernel = model.head.kernel
    kernel.assign(keras.ops.where(keras.ops.abs(kernel) > 2.5, 200.0, kernel))
    model.quantize("int8")


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("change", [replace_head, quantize_after_growing])
def test_quantized_and_replaced_layers_are_decoded_with(change):
    model = DenseModel()
    generate(model, PROMPT, **OPTIONS)
    before = log_probabilities(model, PROMPT)
    change(model)
    after = log_probabilities(model, PROMPT)
    np.testing.assert_array_equal(after, log_probabilities(changed_twin(change), PROMPT))
    assert np.abs(after - before).max() > 1e-3


@pytest.mark.slow
def test_a_changed_draft_and_a_changed_target_of_speculation_are_both_noticed():
    target, draft = DenseModel(), DenseModel()
    generator = SpeculativeGenerator(target, draft, acceptance_rate_target=None)
    assert generator.generate(PROMPT, **OPTIONS) == generate(target, PROMPT, **OPTIONS)
    assert generator.acceptance_rate == 1
    change_head(draft)
    generator.generate(PROMPT, **OPTIONS)
    assert generator.acceptance_rate < 1
    change_head(target)
    assert generator.generate(PROMPT, **OPTIONS) == generate(changed_twin(change_head), PROMPT, **OPTIONS)
    assert generator.acceptance_rate == 1


def test_contrastive_search_follows_a_change():
    model = DenseModel()
    before = generate_contrastive(model, PROMPT, top_k=2, max_length=6)
    replace_embedding(model)
    after = generate_contrastive(model, PROMPT, top_k=2, max_length=6)
    twin = changed_twin(replace_embedding)
    assert after == generate_contrastive(twin, PROMPT, top_k=2, max_length=6) != before


def test_new_values_of_the_same_weights_need_no_new_decoder():
    model = DenseModel()
    before = generate(model, PROMPT, **OPTIONS)
    decoder = decoder_for(model)
    for weight, other in zip(model.weights, DenseModel(seed=3).weights, strict=True):
        weight.assign(other)
    after = generate(model, PROMPT, **OPTIONS)
    assert decoder_for(model) is decoder
    assert after == generate(DenseModel(seed=3), PROMPT, **OPTIONS) != before


def test_a_decoder_does_not_keep_its_model_alive():
    model = DenseModel()
    generate(model, PROMPT, **OPTIONS)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
