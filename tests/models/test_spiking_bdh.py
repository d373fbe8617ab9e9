"""Spiking BDH as a part of a model: counts, calibration, batteries, and that it fires and learns."""

from __future__ import annotations

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError, ModelConfig, get_preset_config
from highnoon.models.calibration import calibrate, calibration_ids
from highnoon.models.costs import flops_per_token
from highnoon.models.memory import cache_bytes, count_parameters
from highnoon.testing import check_model as battery
from highnoon.testing.check_part import check_part
from highnoon.testing.gradients import value_and_gradients

PATTERN = "spiking_bdh(multiplier=8, tau_mem=2.0, tau_syn=2.0, v_threshold=0.3)"
CONFIG = ModelConfig(
    **{
        **get_preset_config("hatching-nano").model.to_dict(),
        "vocab_size": 31,
        "embedding_dim": 16,
        "num_heads": 2,
        "num_reasoning_blocks": 2,
        "max_seq_length": 40,
        "block_pattern": PATTERN,
        "dropout": 0.0,
    }
)
SHORT = dataclasses.replace(CONFIG, embedding_dim=32, max_seq_length=24)  # the cache is a list of tokens
ALL = "excitatory_ratio=0.8, trace_decay=0.95, scale_free_gamma=2.5"


def gains_of(model) -> np.ndarray:
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "input_gains")]
    return np.concatenate([ops.convert_to_numpy(layer.input_gains).ravel() for layer in layers])


def created(seed: int = 0, **fields):
    keras.utils.set_random_seed(seed)
    return hn.create_model(CONFIG, **fields)


@pytest.mark.parametrize("fields", [{}, {"embedding_dim": 32, "max_seq_length": 24}], ids=["state", "list"])
def test_the_counts_are_those_of_the_layer_and_its_cache(fields):
    check_part("spiking_bdh(multiplier=4)", **fields)
    config = dataclasses.replace(CONFIG, **fields)
    model = battery.new_model(config)
    width = config.embedding_dim
    assert model.count_params() == count_parameters(config) == 2 * 31 * width + 3 * 8 * width**2 + 2
    cache = model.initial_cache(1, config.max_seq_length)
    assert cache_bytes(config) == 4 * sum(int(np.prod(leaf.shape)) for leaf in keras.tree.flatten(cache))
    plain = dataclasses.replace(config, block_pattern="bdh(multiplier=8)")
    extra = flops_per_token(config, 16) - flops_per_token(plain, 16)
    assert extra == 3 * 2 * 10 * 8 * width + 6 * 2 * 2  # the membranes, and a gain counted as a weight


@pytest.mark.parametrize("share_blocks", [True, False])
def test_creation_calibrates_every_level(share_blocks):
    model = created(share_blocks=share_blocks)
    gains = gains_of(model)
    assert len(gains) == 2 and (gains > 0).all() and (gains != 1).all()
    terms = model.loss_terms(
        {
            "token_ids": calibration_ids(31, 40),
            "labels": np.zeros((8, 40), "int32"),
            "loss_weights": np.ones((8, 40)),
        },
        training=False,
    )
    for level in range(2):
        rate = float(terms["metrics"][f"activation/firing_rate_level_{level}"])
        assert rate == pytest.approx(0.1, abs=0.002)


def test_the_calibration_follows_from_the_seed_and_draws_nothing_from_it():
    gains = gains_of(created(1))
    after = keras.random.uniform((3,))
    np.testing.assert_array_equal(gains_of(created(1)), gains)
    assert not np.array_equal(gains_of(created(2)), gains)
    keras.utils.set_random_seed(1)
    assert (gains_of(hn.LanguageModel(config=CONFIG)) == 1).all()
    np.testing.assert_array_equal(keras.random.uniform((3,)), after)


def test_models_without_spikes_are_not_run(monkeypatch):
    model = hn.create_model(CONFIG, block_pattern="bdh(multiplier=4)")
    monkeypatch.setattr(type(model.backbone), "call", None)
    calibrate(model)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="saves and loads as in training")
def test_a_saved_model_is_not_calibrated_again(tmp_path, monkeypatch):
    model = created()
    ids = calibration_ids(31, 12)
    expected = battery.logits_of(model, ids)
    hn.save_model(model, tmp_path / "model")
    model.save(tmp_path / "model.keras")

    def fail(*_):
        raise AssertionError("calibrated again")

    monkeypatch.setattr("highnoon.layers.hatching.spiking_bdh_layer.find_gain", fail)
    for path in (tmp_path / "model", tmp_path / "model.keras"):
        again = hn.load_model(path)
        np.testing.assert_array_equal(gains_of(again), gains_of(model))
        np.testing.assert_array_equal(battery.logits_of(again, ids), expected)
    with pytest.raises(AssertionError, match="calibrated again"):
        created()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strategies are TensorFlow's")
def test_the_calibration_is_the_same_under_a_strategy():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        mirrored = gains_of(created())
    np.testing.assert_array_equal(mirrored, gains_of(created()))


def test_bfloat16_is_calibrated_in_its_own_precision():
    gains, exact = gains_of(created(dtype="mixed_bfloat16")), gains_of(created())
    np.testing.assert_allclose(gains, exact, rtol=0.05)


def test_documents_batch_mates_and_later_tokens_change_nothing():
    battery.check_packing(CONFIG)
    battery.check_causality(CONFIG)
    battery.check_batch_mates(CONFIG)


@pytest.mark.parametrize("config", [CONFIG, SHORT], ids=["state", "list"])
@pytest.mark.parametrize("options", ["", ALL])
def test_decoding_is_the_full_pass(config, options):
    pattern = PATTERN.replace(")", f", {options})") if options else PATTERN
    battery.check_cached_decoding(dataclasses.replace(config, block_pattern=pattern))


def test_a_model_comes_back_as_it_was(tmp_path):
    battery.check_save_and_load(CONFIG, tmp_path)


@pytest.mark.slow
def test_one_batch_overfits():
    battery.check_one_batch_overfits(dataclasses.replace(CONFIG, embedding_dim=32), num_steps=300)


def english() -> str:
    """English prose that does not change with this project: its license, without the layout."""
    license = pathlib.Path(__file__).parents[2] / "LICENSE"
    return " ".join(license.read_text(encoding="utf-8").split())


def batch_of_text(rows: int = 2, length: int = 128) -> dict[str, np.ndarray]:
    """English bytes as the ids of the byte tokenizer."""
    text = np.frombuffer(english().encode(), "uint8")
    ids = text[: rows * length + 1].astype("int32") + 7
    cut = rows * length
    return {
        "token_ids": ids[:cut].reshape(rows, length),
        "labels": ids[1:].reshape(rows, length),
        "loss_weights": np.ones((rows, length), "float32"),
    }


DOCUMENTED = "spiking_bdh(multiplier={}, tau_mem=10.0, tau_syn=5.0, v_threshold=1.0, v_reset=0.0, reset=hard)"


def shortened(is_calibrated: bool):
    """The documented model with fewer neurons and levels, and the documented standard deviation."""
    keras.utils.set_random_seed(0)
    config = get_preset_config(
        "hatching-medium",
        embedding_dim=128,
        num_reasoning_blocks=3,
        max_seq_length=128,
        dropout=0.0,
        block_pattern=DOCUMENTED.format(16),
    ).model
    return hn.create_model(config) if is_calibrated else hn.LanguageModel(config=config)


def firing_of(model, batch) -> dict[str, float]:
    metrics = model.loss_terms(batch, training=True)["metrics"]
    return {name: float(value) for name, value in metrics.items() if "firing_rate_level" in name}


def test_calibrated_neurons_fire_on_text_and_documented_ones_do_not():
    batch = batch_of_text()
    rates = firing_of(shortened(is_calibrated=True), batch)
    assert len(rates) == 3
    for name, rate in rates.items():
        assert rate == pytest.approx(0.1, abs=0.02), name
    silent = firing_of(shortened(is_calibrated=False), batch)
    assert max(silent.values()) < 0.01


def test_every_weight_learns_and_the_first_token_is_seen_later():
    model, batch = shortened(is_calibrated=True), batch_of_text()
    weights, others = model.trainable_variables, model.non_trainable_variables

    def loss(*values):
        # Times 1, so that the gradient of the embedding's rows is an array.
        mapping = [(weight, 1.0 * value) for weight, value in zip(weights, values, strict=True)]
        mapping += [(other, other.value) for other in others]
        with keras.StatelessScope(state_mapping=mapping):
            return model.loss_terms(batch, training=True)["loss_sum"]

    arrays = [ops.convert_to_numpy(weight) for weight in weights]
    _, gradients = value_and_gradients(loss, *arrays)
    for weight, gradient in zip(weights, gradients, strict=True):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, weight.path
    # Levels whose neurons are silent at the first token do not multiply the gradient.
    norm = np.sqrt(sum(np.sum(np.square(gradient, dtype="float64")) for gradient in gradients))
    assert norm / batch["loss_weights"].sum() < 100
    changed = batch["token_ids"].copy()
    changed[:, 0] = 1 + changed[:, 0] % 200
    difference = np.abs(battery.logits_of(model, changed) - battery.logits_of(model, batch["token_ids"]))
    assert (difference[:, 64:].max(axis=(1, 2)) > 1e-3).all()


def test_as_published_nothing_fires_and_later_logits_ignore_the_first_token():
    """Hatching's neurons take one step from rest for a whole row: (1 - exp(-1/10)) times a drive of standard
    deviation 0.32, against a threshold of 1. The same checks fail there."""
    drive = np.random.default_rng(0).normal(0, 0.02 * np.sqrt(256), 10**6)
    assert ((1 - np.exp(-1 / 10)) * drive > 1.0).mean() == 0.0
    model, batch = shortened(is_calibrated=False), batch_of_text()
    layer = model.backbone.reasoning_blocks[0].mixers[0]
    layer.input_gains.assign(0.0 * layer.input_gains)  # no drive, as good as none that fires
    changed = batch["token_ids"].copy()
    changed[:, 0] = 1 + changed[:, 0] % 200
    logits = battery.logits_of(model, batch["token_ids"])
    difference = np.abs(battery.logits_of(model, changed) - logits)
    assert difference[:, 0].max() > 1e-3 and difference[:, 1:].max() == 0.0


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the Trainer is TensorFlow's")
def test_levels_still_fire_at_the_target_after_50_steps(tmp_path):
    """The document's values of training, at the start of 10,000 iterations."""
    from pydoc_data.topics import topics

    from highnoon.callbacks.event_callback import EventCallback
    from highnoon.tokenization import ByteTokenizer

    model, logged = shortened(is_calibrated=True), []

    class Stop(EventCallback):
        def on_event(self, event):
            if event["event"] == "log":
                logged.append(event["metrics"])
                self.model.stop_training = event["step"] >= 50

    text = tmp_path / "text.txt"
    words = " ".join(topics[name] for name in sorted(topics)).split()
    text.write_text(" ".join(words), encoding="utf-8")
    values = {"learning_rate": 1e-3, "weight_decay": 0.1, "gradient_clip": 1.0, "warmup_steps": 500}
    trainer = hn.Trainer(model, batch_size=2, max_seq_length=128, tokenizer=ByteTokenizer(), **values)
    trainer.add_curriculum_stage("text", datasets=str(text), steps=10_000)
    options = {"save_checkpoints": False, "log_dir": None, "verbose": False}
    trainer.train(log_interval=1, callbacks=[Stop()], **options)
    assert len(logged) == 50
    for level in range(3):
        rates = [metrics[f"activation/firing_rate_level_{level}"] for metrics in logged]
        assert np.mean(rates[-10:]) == pytest.approx(0.1, abs=0.02)  # a batch has few tokens
    assert logged[-1]["train/loss"] < logged[0]["train/loss"] - 0.2


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="checkpointing is TensorFlow's")
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_gradient_checkpointing_changes_no_gradient(dtype):
    import tensorflow as tf

    model, batch = created(dropout=0.1, dtype=dtype), battery._batch(CONFIG, rows=2, length=12)
    state = [ops.convert_to_numpy(variable) for variable in model.non_trainable_variables]

    def gradients():
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            terms = model.loss_terms(batch, training=True)
            loss = terms["loss_sum"] + terms["aux_loss"]
        return [
            ops.convert_to_numpy(g) for g in tape.gradient(loss, [v.value for v in model.trainable_variables])
        ]

    plain = gradients()
    model.gradient_checkpointing_enable()
    for one, other in zip(gradients(), plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(1.0, np.abs(other).max()))


@pytest.mark.parametrize(
    "option, message",
    [("tau_mem=0", "`tau_mem` must be above 0"), ("reset=none", "`reset`"), ("tau_memory=3", "tau_mem")],
)
def test_bad_options_are_refused_in_one_line(option, message):
    with pytest.raises(ConfigError, match=message) as error:
        hn.create_model(CONFIG, block_pattern=f"spiking_bdh({option})")
    assert "\n" not in str(error.value)
