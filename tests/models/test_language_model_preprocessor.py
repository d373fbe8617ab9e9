"""Texts as the rows that `fit` trains on."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from highnoon.config import ModelConfig
from highnoon.data import PackedRows, open_source, tokenize
from highnoon.models import LanguageModelPreprocessor
from highnoon.testing.check_model import new_model
from highnoon.tokenization import ByteTokenizer

CONFIG = ModelConfig(
    vocab_size=263,
    embedding_dim=16,
    num_reasoning_blocks=1,
    max_seq_length=32,
    num_heads=2,
    block_pattern="attention+mlp",
)
TEXTS = ["noon", "", "the sun at noon, not cut", "grün 光"]


@pytest.fixture
def model():
    model = new_model(CONFIG)
    model.tokenizer = ByteTokenizer()
    return model


def rows_of(texts, **options):
    x, y, weights = LanguageModelPreprocessor(ByteTokenizer(), 8, **options)(texts)
    return [np.asarray(part).tolist() for part in (x["token_ids"], x["padding_mask"], y, weights)]


def test_a_text_is_framed_padded_and_labeled_with_its_next_tokens():
    ids = [byte + 7 for byte in b"noon"]
    assert rows_of(["noon"]) == [
        [[2, *ids, 3, 0, 0]],
        [[1] * 6 + [0] * 2],
        [[*ids, 3, 0, 0, 0]],
        [[1] * 5 + [0] * 3],
    ]
    assert rows_of(["noon"], add_start_token=False, add_end_token=False)[0] == [[*ids, 0, 0, 0, 0]]


def test_longer_texts_are_cut_and_their_last_token_has_its_label():
    token_ids, mask, labels, weights = rows_of(["a" * 50])
    assert token_ids == [[2, *[ord("a") + 7] * 7]] and labels == [[ord("a") + 7] * 8]
    assert mask == weights == [[1] * 8]


def in_a_dataset(texts):
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(4)
    return next(iter(dataset.map(LanguageModelPreprocessor(ByteTokenizer(), 8))))


@pytest.mark.parametrize("kind", [np.array, tf.constant, tuple], ids=["array", "tensor", "tuple"])
def test_every_kind_of_texts_gives_the_same_rows(kind):
    assert rows_of(kind(TEXTS)) == rows_of(TEXTS)
    assert rows_of(TEXTS[2]) == [part[2] for part in rows_of(TEXTS)]
    x, y, weights = in_a_dataset(TEXTS)
    assert [part.numpy().tolist() for part in (*x.values(), y, weights)] == rows_of(TEXTS)
    assert x["token_ids"].shape == (4, 8) and y.dtype == tf.int32 and weights.dtype == tf.float32


def test_of_prompts_and_responses_the_responses_alone_are_supervised():
    pairs = {"prompts": ["ab", "a"], "responses": ["c", "de"]}
    token_ids, _, labels, weights = rows_of(pairs)
    assert token_ids == rows_of(["abc", "ade"])[0] and labels == rows_of(["abc", "ade"])[2]
    assert weights == [[0, 0, 1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0, 0, 0]]
    x, y, again = in_a_dataset(pairs)
    assert [part.numpy().tolist() for part in (*x.values(), y, again)] == rows_of(pairs)


def test_the_loss_is_that_of_the_trainers_rows_of_one_document_each(model, tmp_path):
    texts = [text for text in TEXTS if text]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    store = tokenize(open_source(str(file)), ByteTokenizer(), cache_dir=tmp_path / "cache")
    rows = PackedRows([store], row_length=32, packing=False).view(0)
    assert rows.num_rows == len(texts)
    batch = rows.read(0, rows.num_rows)
    terms = model.loss_terms(batch, training=False)
    loss = float(terms["loss_sum"]) / batch["loss_weights"].sum()
    assert model.evaluate(texts, verbose=0)[0] == pytest.approx(loss, rel=1e-5)
    _, labels, weights = model.preprocessor(texts)
    of_trainer = (batch["labels"] * batch["loss_weights"]).tolist()
    assert sorted((labels * weights).tolist()) == sorted(of_trainer)


def test_sample_weights_multiply_the_weights_of_a_row(model):
    weighted = model.preprocessor(TEXTS[:2], sample_weight=np.array([1.0, 0.0]))
    assert model.test_on_batch(*weighted) == pytest.approx(model.evaluate(TEXTS[:1], verbose=0), rel=1e-5)
    for verb in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="texts take no `sample_weight`; give x, y, sample_weight ="):
            verb(TEXTS, sample_weight=np.ones(4), verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], ["b"]), "texts take no labels `y`"),
        (({"prompts": ["a"]},), "received a dict of 'prompts'"),
        (({"prompts": ["a", "b"], "responses": ["c"]},), "equally many; received 2 and 1"),
        (([3],), "received int"),
    ],
)
def test_what_is_no_text_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LanguageModelPreprocessor(ByteTokenizer()).call(*arguments)


def test_prompts_become_inputs_of_generation_and_texts_again():
    preprocessor = LanguageModelPreprocessor(ByteTokenizer(), 40)
    x = preprocessor.generate_preprocess(TEXTS, sequence_length=30)
    assert x["token_ids"].shape == (4, 30) and 3 not in x["token_ids"]
    assert preprocessor.generate_postprocess(x) == TEXTS
    one = preprocessor.generate_preprocess("noon")
    assert one["token_ids"].shape == (40,) and preprocessor.generate_postprocess(one) == "noon"


def test_the_configuration_has_every_argument_but_the_tokenizer():
    one = LanguageModelPreprocessor(ByteTokenizer(), 9, add_start_token=False, add_end_token=False, name="x")
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(one)))
    )
    assert type(again) is LanguageModelPreprocessor and again.get_config() == one.get_config()
    assert (again.sequence_length, again.add_start_token, again.add_end_token) == (9, False, False)
    assert again.tokenizer is None
