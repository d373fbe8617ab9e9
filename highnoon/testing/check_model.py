"""What every language model must pass. Each check is a function; `check_model` calls them all."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.config import ModelConfig
from highnoon.models import LanguageModel, count_parameters, load_model, save_model
from highnoon.models.memory import bytes_to_run
from highnoon.testing.compiled import compiled_forms, gradient_step

_TOLERANCE = 1e-5


def check_model(config: ModelConfig, num_parameters: int, folder: str | pathlib.Path) -> None:
    """Runs every check on models of a configuration.

    Args:
        config: A small configuration: two of its models are trained and run at full length.
        num_parameters: What a formula of the test's own says.
        folder: An empty folder to save into.

    Raises:
        AssertionError: a check failed; the message says which and by how much.
    """
    check_parameter_count(config, num_parameters)
    check_first_loss(config)
    check_one_batch_overfits(config)
    check_save_and_load(config, folder)
    check_causality(config)
    check_packing(config)
    check_cached_decoding(config)


def check_parameter_count(config: ModelConfig, num_parameters: int) -> None:
    """The built model, the package's formula and the test's formula agree."""
    built, formula = new_model(config).count_params(), count_parameters(config)
    counts = f"built {built:,}, the package's formula {formula:,}, the test's {num_parameters:,}"
    assert built == formula == num_parameters, counts


def check_first_loss(config: ModelConfig) -> None:
    """Before training, the loss of labels that have nothing to do with the inputs is near ln(vocab).

    Rows of the head have variance 2 / (5 d) and hidden states a mean square of 1, so logits have the
    variance 2 / 5, half of which the mean loss lies above ln(vocab).
    """
    batch = _batch(config, rows=4, length=32)
    terms = new_model(config).loss_terms(batch, training=False)
    loss, expected = float(terms["loss_sum"]) / batch["loss_weights"].sum(), np.log(config.vocab_size) + 0.2
    assert abs(loss - expected) < 0.25, f"the first loss is {loss:.3f} and ln(vocab) + 0.2 is {expected:.3f}"


def check_one_batch_overfits(config: ModelConfig, num_steps: int = 120, goal: float = 0.05) -> None:
    """Adam brings the loss of one batch under `goal` nats a token."""
    model = new_model(dataclasses.replace(config, dropout=0.0))
    batch = _batch(config, rows=3, length=12)
    num_tokens = float(batch["loss_weights"].sum())
    optimizer = keras.optimizers.Adam(4e-3)
    optimizer.build(model.trainable_variables)

    def objective() -> Any:
        terms = model.loss_terms(batch, training=True)
        return terms["loss_sum"] / num_tokens + terms["aux_loss"]

    step = gradient_step(objective, model.trainable_variables, optimizer)
    for _ in range(num_steps):
        step()
    loss = float(model.loss_terms(batch, training=False)["loss_sum"]) / num_tokens
    assert loss < goal, f"after {num_steps} steps on one batch the loss is still {loss:.3f}"


def check_save_and_load(config: ModelConfig, folder: str | pathlib.Path) -> None:
    """A saved model comes back with the same configuration and the same logits, bit for bit."""
    model = new_model(config)
    token_ids = _token_ids(config, 2, 9)
    path = save_model(model, pathlib.Path(folder) / "model")
    again = load_model(path, dtype=model.dtype_policy)
    assert again.config == config, f"{config} came back as {again.config}"
    np.testing.assert_array_equal(logits_of(again, token_ids), logits_of(model, token_ids))


def check_causality(config: ModelConfig, length: int = 24) -> None:
    """Changing the tokens after t leaves the logits up to t as they were, end to end."""
    model = new_model(config)
    _wake(model)
    token_ids = _token_ids(config, 2, length)
    logits = logits_of(model, token_ids)
    for last in (0, length // 2, length - 2):
        changed = token_ids.copy()
        changed[:, last + 1 :] = 1 + changed[:, last + 1 :] % (config.vocab_size - 1)
        other = logits_of(model, changed)
        cut = last + 1
        assert np.abs(other[:, cut:] - logits[:, cut:]).max() > 1e-3, "the change had no effect"
        _assert_close(other[:, :cut], logits[:, :cut], f"tokens after {last} change earlier logits")


def check_packing(config: ModelConfig) -> None:
    """A document packed into a row, behind another and before padding, has the logits it has alone."""
    model = new_model(config)
    _wake(model)
    lengths = (7, 10, 4)
    token_ids = _token_ids(config, 1, sum(lengths))
    segment_ids = np.repeat([1, 2, 0], lengths)[None].astype("int32")
    positions = np.concatenate([np.arange(n) for n in lengths])[None].astype("int32")
    packed = logits_of(model, {"token_ids": token_ids, "segment_ids": segment_ids, "positions": positions})
    assert np.isfinite(packed).all(), "the logits at padding are not finite"
    start = 0
    for length in lengths[:2]:
        alone = logits_of(model, token_ids[:, start : start + length])
        _assert_close(packed[:, start : start + length], alone, f"the document at {start} is not as alone")
        start += length


def check_cached_decoding(config: ModelConfig, length: int = 14) -> None:
    """Prefill and single steps, over rows padded on the left, give each row's logits of one whole pass."""
    model = new_model(config)
    _wake(model)
    token_ids = _token_ids(config, 3, length)
    padding = np.array([0, 5, 1], "int32")
    token_ids[np.arange(length)[None] < padding[:, None]] = 0
    decode = model.decode
    if keras.backend.backend() == "jax":
        decode = compiled_forms(model.decode)["xla"]
    cache, parts = model.initial_cache(3, length + 2), []
    for start, end in ((0, length - 4), *((i, i + 1) for i in range(length - 4, length))):
        logits, cache = decode(ops.convert_to_tensor(token_ids[:, start:end]), cache, start, padding)
        parts.append(ops.convert_to_numpy(logits))
    decoded = np.concatenate(parts, axis=1)
    for row, size in enumerate(padding):
        alone = logits_of(model, token_ids[row : row + 1, size:])
        _assert_close(decoded[row : row + 1, size:], alone, f"row {row} with {size} pads decodes otherwise")


def check_every_field_matters(
    config: ModelConfig, changes: Mapping[str, Any], elsewhere: Collection[str] = ()
) -> None:
    """Another value of any field changes the parameters, the logits, the losses or the memory.

    Args:
        config: The configuration to start from.
        changes: Another value for every field of `ModelConfig`.
        elsewhere: Fields of layers that this configuration has not; check them with one that has.
    """
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    left_out = names - set(changes) - set(elsewhere)
    assert not left_out, f"`changes` must give another value for {', '.join(sorted(left_out))}"
    before = _behaviour(config)
    assert _same(before, _behaviour(config)), "the same configuration and seed gave two different models"
    for name, value in changes.items():
        changed = dataclasses.replace(config, **{name: value})
        assert changed != config, f"`changes` leaves `{name}` at {value!r}"
        assert not _same(before, _behaviour(changed)), f"`{name}`={value!r} changes nothing"


def new_model(config: ModelConfig, seed: int = 0) -> LanguageModel:
    """Returns a model whose weights depend on the configuration and the seed alone."""
    keras.utils.set_random_seed(seed)
    return LanguageModel(**config.to_dict())


def logits_of(model: LanguageModel, inputs: Any) -> np.ndarray:
    """Returns the logits without training, as an array."""
    call = lambda inputs: model(inputs, training=False)  # noqa: E731
    if keras.backend.backend() == "jax":  # eager JAX compiles every operation by itself, for every shape
        call = compiled_forms(call)["xla"]
    return ops.convert_to_numpy(call(inputs))


def _wake(model: LanguageModel) -> None:
    """Moves the weights away from their small start, so that every part has a say in the logits."""
    rng = np.random.default_rng(1)
    for weight in model.trainable_variables:
        value = ops.convert_to_numpy(weight)
        weight.assign(value + 0.1 * rng.normal(size=value.shape).astype(value.dtype))


def _token_ids(config: ModelConfig, rows: int, length: int) -> np.ndarray:
    return np.random.default_rng(2).integers(1, config.vocab_size, (rows, length)).astype("int32")


def _batch(config: ModelConfig, rows: int, length: int) -> dict[str, np.ndarray]:
    labels = np.random.default_rng(3).integers(1, config.vocab_size, (rows, length)).astype("int32")
    return {
        "token_ids": _token_ids(config, rows, length),
        "labels": labels,
        "loss_weights": np.ones((rows, length), "float32"),
        "segment_ids": np.ones((rows, length), "int32"),
        "positions": np.tile(np.arange(length, dtype="int32"), (rows, 1)),
    }


def _behaviour(config: ModelConfig) -> list[np.ndarray]:
    model = new_model(config)
    _wake(model)
    batch = _batch(dataclasses.replace(config, vocab_size=20), rows=2, length=10)
    terms = model.loss_terms(batch, training=True)
    values = [terms["loss_sum"], terms["aux_loss"], *terms["metrics"].values()]
    return [
        logits_of(model, batch["token_ids"]),
        np.array([float(value) for value in values]),
        np.array([model.count_params(), bytes_to_run(config), model.max_seq_length]),
    ]


def _same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-6) for a, b in zip(one, other, strict=True))


def _assert_close(ours: np.ndarray, theirs: np.ndarray, message: str) -> None:
    error = float(np.max(np.abs(ours - theirs), initial=0.0))
    limit = _TOLERANCE * max(1.0, float(np.abs(theirs).max(initial=0.0)))
    assert np.isfinite(error) and error <= limit, f"{message}: by {error:.2e}"
