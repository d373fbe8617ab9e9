"""What a user of Keras does to a language model: `fit`, files, copies, summaries, policies."""

from __future__ import annotations

import copy
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import highnoon as hn
from highnoon.config import ModelConfig, TrainingConfig
from highnoon.models import LanguageModelPreprocessor
from highnoon.models.arrays import assign_arrays, variable_arrays
from highnoon.testing.check_model import logits_of, new_model
from highnoon.tokenization import BytePairTokenizer, ByteTokenizer, ChatTemplate
from highnoon.tokenization.byte_pair.training_note import training_note

CONFIG = ModelConfig(
    vocab_size=263,
    embedding_dim=16,
    num_reasoning_blocks=1,
    max_seq_length=16,
    num_heads=2,
    block_pattern="attention+mlp",
)
TEXTS = ["noon", "sun", "moon and star", "light"]
TOKEN_IDS = np.random.default_rng(0).integers(4, 263, (2, 6)).astype("int32")
INPUTS = {"token_ids": TOKEN_IDS, "padding_mask": np.ones_like(TOKEN_IDS)}
quiet = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")


@pytest.fixture
def model():
    model = new_model(CONFIG)
    model.tokenizer = ByteTokenizer()
    return model


# fit, evaluate, predict


def test_fit_takes_texts_without_compile_and_learns_them(model):
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = model.fit(TEXTS, batch_size=2, epochs=5, validation_split=0.25, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] - 0.5 and len(history["val_loss"]) == 5
    assert set(history) >= {"sparse_categorical_accuracy", "val_sparse_categorical_accuracy"}


@pytest.mark.parametrize("shuffle", [True, False])
def test_texts_are_shuffled_by_the_global_seed_in_every_epoch(model, shuffle):
    seen = []

    class Seen(LanguageModelPreprocessor):
        def _rows(self, texts, length):
            seen.append([text.decode() for text in texts["prompts"]])
            return super()._rows(texts, length)

    model.preprocessor = Seen(ByteTokenizer(), sequence_length=4)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    texts = [chr(ord("a") + i) for i in range(16)]
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model.fit(texts, batch_size=16, epochs=2, shuffle=shuffle, verbose=0)
        runs.append(seen[:2])
        seen.clear()
    assert runs[0] == runs[1] and all(sorted(epoch) == texts for epoch in runs[0])
    assert (runs[0][0] != runs[0][1]) is shuffle and (texts in runs[0]) is not shuffle


def test_token_ids_pass_the_preprocessor_unchanged(model):
    with_texts = model.evaluate(INPUTS, TOKEN_IDS, verbose=0)
    model.preprocessor = None
    assert model.evaluate(INPUTS, TOKEN_IDS, verbose=0) == with_texts
    with pytest.raises(ValueError, match="`model.preprocessor` is None, so texts are not taken; set it to"):
        model.evaluate(TEXTS, verbose=0)


def test_texts_without_a_tokenizer_are_refused_in_one_line(model):
    model.tokenizer = None
    dataset = tf.data.Dataset.from_tensor_slices(TEXTS).batch(2)
    for call in (model.fit, model.evaluate, model.predict, model.train_on_batch, model.test_on_batch):
        for texts in (TEXTS, np.array(TEXTS), dataset):
            if texts is dataset and call in (model.train_on_batch, model.test_on_batch):
                continue
            if texts is not dataset and call == model.fit:
                continue
            with pytest.raises(
                ValueError, match="^texts need a tokenizer and the model has none; set"
            ) as error:
                call(texts)
            assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="texts take no labels"):
        model.fit(TEXTS, TEXTS)


def test_fit_trains_the_tokenizer_that_a_model_has_not(model, capsys):
    model.tokenizer = None
    model.fit(TEXTS, epochs=1, verbose=2)
    expected = BytePairTokenizer(model.vocab_size).train_from_texts(TEXTS)
    assert model.tokenizer.to_json() == expected.to_json()
    assert training_note(expected, "these texts", "model") in capsys.readouterr().out
    # The second call keeps it, and the held-out side of the first is not trained on.
    kept = model.tokenizer
    model.fit([text[::-1] for text in TEXTS], epochs=1, verbose=0)
    assert model.tokenizer is kept
    model.tokenizer = None
    model.fit(TEXTS, validation_split=0.5, epochs=1, verbose=0)
    half = TEXTS[: len(TEXTS) // 2]
    assert model.tokenizer.to_json() == BytePairTokenizer(model.vocab_size).train_from_texts(half).to_json()


def test_the_default_optimizer_has_the_numbers_of_the_training_configuration():
    config = TrainingConfig(learning_rate=3e-3, weight_decay=0.2, gradient_clip=0.5, adam_beta2=0.95)
    optimizer = hn.LanguageModel(config=CONFIG, training_config=config).optimizer
    assert type(optimizer) is keras.optimizers.AdamW and float(optimizer.learning_rate) == pytest.approx(3e-3)
    assert (optimizer.weight_decay, optimizer.global_clipnorm, optimizer.beta_2) == (0.2, 0.5, 0.95)


def test_a_sampler_is_refused_with_what_to_give_instead(model):
    with pytest.raises(ValueError, match="takes no `sampler`; received 'greedy'. Give generate"):
        model.compile(sampler="greedy")


def test_predict_and_score_give_the_logits_of_the_rows(model):
    x, y, _ = model.preprocessor(TEXTS)
    np.testing.assert_allclose(model.predict(TEXTS, verbose=0), logits_of(model, x), atol=1e-5)
    np.testing.assert_allclose(np.asarray(model.score(**x)), logits_of(model, x), atol=1e-6)
    losses = np.asarray(model.score(**x, scoring_mode="loss", target_ids=y))
    log_p = keras.ops.log_softmax(logits_of(model, x))
    expected = -np.take_along_axis(np.asarray(log_p), y[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    with pytest.raises(ValueError, match="needs `target_ids`"):
        model.score(**x, scoring_mode="loss")
    with pytest.raises(ValueError, match="'logits' or 'loss'; received 'x'"):
        model.score(**x, scoring_mode="x")


def test_a_preprocessor_that_is_set_brings_its_tokenizer(model):
    assert type(model.preprocessor) is LanguageModelPreprocessor
    assert model.preprocessor.tokenizer is model.tokenizer and model.preprocessor.sequence_length == 16
    model.preprocessor = LanguageModelPreprocessor(ByteTokenizer(), sequence_length=8)
    assert model.predict(TEXTS, verbose=0).shape == (4, 8, 263)
    small = hn.LanguageModel(61, 16, 16, 1, "attention+mlp")
    with pytest.raises(ValueError, match="the tokenizer has 263 ids and the model takes 61"):
        small.preprocessor = LanguageModelPreprocessor(ByteTokenizer())


# .keras files


def test_a_keras_file_brings_back_tokenizer_template_training_and_optimizer(model, tmp_path):
    model.tokenizer = ByteTokenizer().with_chat_template(ChatTemplate())
    model.training_config = TrainingConfig(batch_size=5)
    model.preprocessor.sequence_length = 12
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    model.fit(TEXTS, shuffle=False, verbose=0)
    model.save(tmp_path / "m.keras")
    for again in (keras.saving.load_model(tmp_path / "m.keras"), hn.load_model(tmp_path / "m.keras")):
        assert again.tokenizer.chat_template == ChatTemplate() and again.training_config.batch_size == 5
        assert again.preprocessor.sequence_length == 12
        np.testing.assert_array_equal(logits_of(again, TOKEN_IDS), logits_of(model, TOKEN_IDS))
        assert int(again.optimizer.iterations) == 1
        states = zip(again.optimizer.variables, model.optimizer.variables, strict=True)
        assert all(np.array_equal(ours, theirs) for ours, theirs in states)


def fill_factors(model):
    for factor in (weight for weight in model.weights if "lora" in weight.path):
        factor.assign(np.random.default_rng(0).normal(size=factor.shape))


def lora(model):
    model.enable_lora(2)
    fill_factors(model)


def int4_after_lora(model):
    model.enable_lora(2)
    model.quantize("int4")
    fill_factors(model)


CHANGES = {
    "LoRA": lora,
    "int8": lambda model: model.quantize("int8"),
    "int4": lambda model: model.quantize("int4"),
    "int8 of weights alone": lambda model: model.quantize(
        config=keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)
    ),
    "int4 after LoRA": int4_after_lora,
}


@quiet
@pytest.mark.parametrize(
    "name", [name if name == "int8" else pytest.param(name, marks=pytest.mark.slow) for name in CHANGES]
)
def test_quantized_and_adapted_models_come_back_from_keras_files_bit_for_bit(model, name, tmp_path):
    change = CHANGES[name]
    change(model)
    model.save(tmp_path / "m.keras")
    again = hn.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(logits_of(again, TOKEN_IDS), logits_of(model, TOKEN_IDS))
    assert [(v.path, v.dtype, v.trainable) for v in again.variables] == [
        (v.path, v.dtype, v.trainable) for v in model.variables
    ]
    before = variable_arrays(model.variables)
    assert all(
        np.array_equal(before[name], value) for name, value in variable_arrays(again.variables).items()
    )


def test_hdf5_is_refused_since_it_keeps_no_tokenizer(model, tmp_path):
    with pytest.raises(ValueError, match="HDF5 keeps no tokenizer; received .*m.h5. Give a name that ends"):
        model.save(tmp_path / "m.h5")
    assert not list(tmp_path.iterdir())


# what else Keras's users call


def test_the_configuration_and_json_make_an_equal_model(model):
    for again in (
        hn.LanguageModel.from_config(json.loads(json.dumps(model.get_config()))),
        keras.models.model_from_json(model.to_json()),
        copy.deepcopy(model),
    ):
        assert type(again) is hn.LanguageModel and again.config == CONFIG
        assign_arrays(again.weights, variable_arrays(model.weights), owner="again")
        np.testing.assert_array_equal(logits_of(again, TOKEN_IDS), logits_of(model, TOKEN_IDS))


def test_a_clone_computes_the_same_from_the_same_weights(model):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(logits_of(clone, INPUTS), logits_of(model, TOKEN_IDS), atol=1e-6)


def test_the_summary_names_layers_parameters_and_the_tokenizer(model):
    lines = []
    model.summary(print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    assert "Tokenizer: ByteTokenizer of 263 ids, texts as rows of 16 tokens" in text
    assert "reasoning_block_0" in text and f"Total params: {model.count_params():,}" in text


@pytest.mark.slow
def test_an_exported_model_gives_its_logits(model, tmp_path):
    model.export(str(tmp_path / "exported"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(np.asarray(loaded.serve(INPUTS)), logits_of(model, TOKEN_IDS), atol=1e-5)


def test_a_global_policy_of_mixed_precision_is_taken():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = hn.create_model(CONFIG)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.dtype_policy.name == "mixed_bfloat16" and model.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.weights} == {"float32"}


@pytest.mark.slow
def test_fit_compiled_by_xla_gives_the_same_loss(model):
    losses = []
    for jit_compile in (False, True):
        model.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=jit_compile)
        losses.append(model.fit(TEXTS, shuffle=False, verbose=0).history["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_head_of_ones_own_on_the_backbone_trains(model):
    pooled = keras.layers.GlobalAveragePooling1D()(model.backbone.output)
    classifier = keras.Model(model.backbone.input, keras.layers.Dense(2)(pooled))
    classifier.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [np.array(w) for w in model.backbone.get_weights()]
    assert np.isfinite(classifier.fit(INPUTS, np.array([0, 1]), verbose=0).history["loss"]).all()
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.backbone.get_weights(), strict=True))


def test_a_model_called_with_a_text_says_what_to_call(model):
    with pytest.raises(ValueError, match="does not apply preprocessing.*model.preprocessor"):
        model(["noon"])


def test_lora_of_the_model_is_that_of_its_backbone(model):
    model.enable_lora(2)
    assert {v.path.split("/")[-1] for v in model.trainable_variables} == {"lora_kernel_a", "lora_kernel_b"}
    with pytest.raises(ValueError, match="LoRA is enabled already"):
        model.enable_lora(4)
