"""Models that are not HighNoon's, and have no cache."""

from __future__ import annotations

import gc
import types
import weakref

import keras
import keras_hub
import numpy as np
import pytest

from highnoon.inference import (
    SpeculativeGenerator,
    StatefulWrapper,
    StreamingGenerator,
    generate,
    generate_batch,
    generate_beam,
    generate_contrastive,
    log_probabilities,
)
from highnoon.models import ReasoningBackbone
from highnoon.tokenization import ByteTokenizer

ROWS = [[2, 40, 41], [2, 50, 51, 52, 53, 54], [2]]


def plain(length=None, padding="causal"):
    keras.utils.set_random_seed(0)
    ids = keras.Input((length,), dtype="int32")
    x = keras.layers.Embedding(263, 16)(ids)
    x = keras.layers.Conv1D(16, 3, padding=padding, activation="tanh")(x)
    return keras.Model(ids, keras.layers.Dense(263)(x))


def recurrent():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.GRU(16, return_sequences=True), keras.layers.Dense(263)]
    return keras.Sequential([keras.layers.Embedding(263, 16), *layers])


def gpt2():
    keras.utils.set_random_seed(0)
    return keras_hub.models.GPT2CausalLM(
        keras_hub.models.GPT2Backbone(263, 1, 2, 16, 32, max_sequence_length=32)
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.table = keras.layers.Embedding(263, 263, embeddings_initializer="normal")

    def call(self, inputs):
        return self.table(inputs["token_ids"])


MODELS = {"functional": plain, "sequential": recurrent, "KerasHub": gpt2, "subclass": Subclassed}


def greedily(model, row, count):
    """The same by calls of the model alone."""
    row = list(row)
    for _ in range(count):
        ids = np.array([row], np.int32)
        takes_dict = isinstance(model, (Subclassed, keras_hub.models.CausalLM))
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)} if takes_dict else ids
        row.append(int(np.argmax(keras.ops.convert_to_numpy(model(inputs))[0, -1])))
    return row


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_greedy_tokens_are_those_of_calls_of_the_model(make):
    model = make()
    expected = [greedily(model, row, 4) for row in ROWS]
    assert generate(model, ROWS, max_length=4, temperature=0) == expected
    assert generate_batch(model, ROWS, max_length=4, temperature=0, batch_size=2) == expected


def test_a_model_of_one_length_generates_up_to_it():
    fixed, free = plain(length=12), plain()
    fixed.set_weights(free.get_weights())
    expected = [greedily(free, row, 6) for row in ROWS[:2]]
    assert generate(fixed, ROWS[:2], max_length=99, temperature=0)[1] == expected[1]
    assert generate(fixed, ROWS[:2], max_length=6, temperature=0) == expected
    with pytest.raises(ValueError, match="max_seq_length=12; shorten it"):
        generate(fixed, [list(range(2, 22))])


@pytest.mark.slow
def test_every_way_to_generate_takes_it():
    model, tokenizer = gpt2(), ByteTokenizer()
    row, expected = ROWS[1], greedily(gpt2(), ROWS[1], 6)
    for draft in (None, gpt2()):
        assert SpeculativeGenerator(model, draft).generate(row, max_length=6, temperature=0) == expected
    assert generate_beam(model, row, num_beams=1, max_length=6) == expected
    text = generate(model, "hi", max_length=6, tokenizer=tokenizer, seed=1)
    pieces = StreamingGenerator(model, tokenizer=tokenizer).generate_stream("hi", max_length=6, seed=1)
    assert "hi" + "".join(pieces) == text
    chat = StatefulWrapper(model, max_history=31, tokenizer=tokenizer)
    chat.add_user_message("a")
    assert isinstance(chat.generate(max_length=3, seed=1), str)
    ids = np.array([row], np.int32)
    logits = keras.ops.convert_to_numpy(model({"token_ids": ids, "padding_mask": np.ones_like(ids)}))[0]
    log_p = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))
    np.testing.assert_allclose(
        log_probabilities(model, row), [log_p[i, row[i + 1]] for i in range(len(row) - 1)], atol=1e-5
    )


def test_new_weights_are_used_and_the_model_is_not_kept_alive():
    model = plain()
    generate(model, ROWS, max_length=2)
    model.set_weights([weight * -1.5 for weight in model.get_weights()])
    assert generate(model, ROWS, max_length=4, temperature=0) == [greedily(model, row, 4) for row in ROWS]
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def classifier():
    ids = keras.Input((None,), dtype="int32")
    return keras.Model(ids, keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(263, 3)(ids)))


def of_images():
    image = keras.Input((8, 8, 3), name="image")
    return keras.Model({"image": image}, keras.layers.Dense(2)(image))


def of_transformers():
    return types.new_class("GPT2LMHeadModel", exec_body=lambda ns: ns.update(save_pretrained=print))()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: plain(padding="same"), ValueError, "depend on later tokens, so it cannot generate"),
        (classifier, TypeError, r"must return logits .*; received shape \(2, 3\)"),
        (of_images, TypeError, "takes image; generation gives `token_ids` and `padding_mask` alone"),
        (
            lambda: gpt2().backbone,
            TypeError,
            "is a backbone, whose outputs are hidden states; give the language",
        ),
        (
            lambda: ReasoningBackbone(vocab_size=50, embedding_dim=16, num_reasoning_blocks=1),
            TypeError,
            "ReasoningBackbone is a backbone",
        ),
        (of_transformers, TypeError, r"call its save_pretrained\(folder\), then hn.load_model\(folder\)"),
        (lambda: "my-run/model", TypeError, "received the path 'my-run/model': call hn.load_model first"),
        (lambda: 3, TypeError, "must be a keras.Model from token ids to logits; received builtins's int"),
        (
            lambda: types.SimpleNamespace(initial_cache=None, decode=None, vocab_size=3),
            TypeError,
            "lacks max_seq_length",
        ),
    ],
)
def test_what_cannot_generate_is_named_with_what_to_do(make, error, message):
    with pytest.raises(error, match=message) as caught:
        generate(make(), [[2, 3]])
    assert "\n" not in str(caught.value)


def test_contrastive_search_and_texts_say_what_they_need():
    with pytest.raises(TypeError, match="a `backbone` that has `step`; received a GPT2CausalLM"):
        generate_contrastive(gpt2(), [2, 3])
    with pytest.raises(ValueError, match="a text prompt needs a tokenizer and the model has none"):
        generate(gpt2(), "hi")
