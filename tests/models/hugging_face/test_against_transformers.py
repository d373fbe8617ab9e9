"""Every family: logits, gradients and decoding equal those of `transformers`, both ways."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.models.hugging_face.families import FAMILIES
from highnoon.models.hugging_face.tensor_files import TensorFiles

torch = pytest.importorskip("torch", reason="the references need PyTorch: pip install 'highnoon[bench]'")
transformers = pytest.importorskip(
    "transformers", reason="the references need transformers: pip install 'highnoon[bench]'"
)


def reference_logits(model, token_ids) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(token_ids)).logits.numpy()


def logits(model, token_ids) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(token_ids, training=False))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_published_model_has_the_same_logits_here(name, published, loaded, token_ids):
    expected = reference_logits(published(name), token_ids)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits(loaded(name), token_ids), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_exported_model_has_the_same_logits_there(name, loaded, token_ids, tmp_path):
    model = loaded(name)
    hn.export_model(model, tmp_path / name)
    exported, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / name, attn_implementation="eager", output_loading_info=True
    )
    assert exported.config.model_type == name
    assert not any(report.values()), report
    expected = logits(model, token_ids)
    np.testing.assert_allclose(reference_logits(exported, token_ids), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes TensorFlow's gradients")
@pytest.mark.parametrize(
    "name",
    [
        "llama",
        "qwen2",
        "qwen3",
        "phi3",
        "gemma",
        "gemma2",
        "gpt2",
        pytest.param("qwen3_moe", marks=pytest.mark.slow),
        pytest.param("deepseek_v3", marks=pytest.mark.slow),
        "mamba",
        "mamba2",
    ],
)
def test_gradients_of_the_loss_are_those_of_transformers(name, published, loaded, token_ids, tmp_path):
    expected = _reference_gradients(published(name), token_ids, tmp_path)
    model = loaded(name)
    gradients = _gradients(model, token_ids)
    checked = 0
    for weight in FAMILIES[name].weights(model):
        if not weight.variable.trainable:
            continue
        parts = weight.rule.write(gradients[weight.variable.path])
        for tensor, got in zip(weight.names, parts, strict=True):
            reference = expected.read(tensor, weight.span)
            np.testing.assert_allclose(got, reference, rtol=0, atol=1e-3 * np.abs(reference).max() + 1e-7)
            checked += np.abs(reference).max() > 1e-5
    assert checked > 15


def _reference_gradients(model, token_ids, folder) -> TensorFiles:
    """Saved in place of the weights: under the published names, that is."""
    model = copy.deepcopy(model)
    ids = torch.tensor(token_ids)
    scores = model(ids[:, :-1]).logits
    torch.nn.functional.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten()).backward()
    for parameter in model.parameters():
        parameter.data = parameter.grad
    model.save_pretrained(folder)
    return TensorFiles(folder)


def _gradients(model, token_ids) -> dict[str, np.ndarray]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        scores = model(token_ids[:, :-1], training=False)
        losses = keras.losses.sparse_categorical_crossentropy(token_ids[:, 1:], scores, from_logits=True)
        loss = keras.ops.mean(losses)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    return {
        variable.path: tf.convert_to_tensor(gradient).numpy()
        for variable, gradient in zip(variables, gradients, strict=True)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "mamba2", "qwen2", "qwen3", "gemma2", "gpt2"])
def test_greedy_decoding_from_the_cache_is_that_of_transformers(name, published, loaded, token_ids):
    options = {"do_sample": False, "max_new_tokens": 24, "eos_token_id": None, "pad_token_id": 0}
    expected = published(name).generate(torch.tensor(token_ids), **options).numpy()
    got = loaded(name).generate(token_ids.astype("int32"), max_length=24, temperature=0)
    np.testing.assert_array_equal(got, expected)
    assert len(set(expected[:, 21:].ravel())) >= 5
