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
from highnoon.testing.gradients import value_and_gradients
from highnoon.testing.slopes import check_slopes

_TOLERANCE = 1e-5


def check_model(
    config: ModelConfig,
    num_parameters: int,
    folder: str | pathlib.Path,
    model_class: type[LanguageModel] = LanguageModel,
) -> None:
    """Runs every check on models of a configuration.

    Args:
        config: A small configuration: two of its models are trained and run at full length.
        num_parameters: The number of weights by a formula of the test's own.
        folder: An empty folder to save into.
        model_class: `LanguageModel` or a subclass.

    Raises:
        AssertionError: a check failed; the message says which and by how much.
    """
    check_parameter_count(config, num_parameters, model_class)
    check_causality(config, model_class=model_class)
    check_packing(config, model_class)
    check_batch_mates(config, model_class)
    check_cached_decoding(config, model_class=model_class)
    check_save_and_load(config, folder, model_class)
    check_first_loss(config, model_class)
    check_loss(config, model_class)
    check_bfloat16(config, model_class)
    check_gradient(config, model_class)
    check_one_batch_overfits(config, model_class=model_class)


def check_parameter_count(
    config: ModelConfig, num_parameters: int, model_class: type[LanguageModel] = LanguageModel
) -> None:
    """The built model, the package's formula and the test's formula agree."""
    built, formula = new_model(config, model_class=model_class).count_params(), count_parameters(config)
    counts = f"built {built:,}, the package's formula {formula:,}, the test's {num_parameters:,}"
    assert built == formula == num_parameters, counts


def check_first_loss(config: ModelConfig, model_class: type[LanguageModel] = LanguageModel) -> None:
    """Before training, the loss of labels that have nothing to do with the inputs is near ln(vocab).

    Rows of the head have variance 2 / (5 d) and hidden states a mean square of 1, so logits have the
    variance 2 / 5, half of which the mean loss lies above ln(vocab).
    """
    batch = _batch(config, rows=4, length=32)
    terms = new_model(config, model_class=model_class).loss_terms(batch, training=False)
    loss, expected = float(terms["loss_sum"]) / batch["loss_weights"].sum(), np.log(config.vocab_size) + 0.2
    assert abs(loss - expected) < 0.25, f"the first loss is {loss:.3f} and ln(vocab) + 0.2 is {expected:.3f}"


def check_loss(config: ModelConfig, model_class: type[LanguageModel] = LanguageModel) -> None:
    """The loss is the sum of loss weight times cross entropy of the logits; all terms are finite."""
    model = _awake(config, model_class)
    batch = _batch(config, rows=3, length=10)
    batch["loss_weights"] = np.random.default_rng(4).choice([0.0, 0.5, 1.0], (3, 10)).astype("float32")
    logits = logits_of(model, batch["token_ids"]).astype("float64")
    logits -= logits.max(-1, keepdims=True)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(log_probs, batch["labels"][..., None], axis=-1)[..., 0]
    expected = float((losses * batch["loss_weights"]).sum())
    loss = float(model.loss_terms(batch, training=False)["loss_sum"])
    assert abs(loss - expected) <= 1e-4 * expected, (
        f"the loss is {loss:.6g}; the sum of loss weight times cross entropy of the logits is {expected:.6g}"
    )
    terms = model.loss_terms(batch, training=True)
    for name, value in {
        **terms["metrics"],
        "loss_sum": terms["loss_sum"],
        "aux_loss": terms["aux_loss"],
    }.items():
        assert np.isfinite(float(value)), f"in training, `{name}` is {float(value)}"


def check_gradient(config: ModelConfig, model_class: type[LanguageModel] = LanguageModel) -> None:
    """The gradient of the training loss is its slope; no trainable weight has a gradient of zero."""
    model = _awake(dataclasses.replace(config, dropout=0.0), model_class)
    batch = _batch(config, rows=2, length=8)
    num_tokens = float(batch["loss_weights"].sum())
    weights, others = model.trainable_variables, model.non_trainable_variables
    sizes = [int(np.prod(weight.shape)) for weight in weights]
    start = np.concatenate([ops.convert_to_numpy(weight).ravel() for weight in weights])

    def loss(vector: Any) -> Any:
        parts = ops.split(vector, np.cumsum(sizes)[:-1].tolist())
        values = [ops.reshape(part, weight.shape) for part, weight in zip(parts, weights, strict=True)]
        mapping = [*zip(weights, values, strict=True), *((other, other.value) for other in others)]
        with keras.StatelessScope(state_mapping=mapping):
            return model.loss_terms(batch, training=True)["loss_sum"] / num_tokens

    form = "graph" if keras.backend.backend() == "tensorflow" else "xla"
    value = compiled_forms(loss)[form]
    _, (gradient,) = value_and_gradients(value, start)
    assert np.isfinite(gradient).all(), "the gradient is not finite"
    for weight, part in zip(weights, np.split(gradient, np.cumsum(sizes)[:-1]), strict=True):
        assert np.abs(part).max() > 0, f"the gradient of {weight.path} is zero"
    check_slopes(value, [start], [gradient], ["the loss"])


def check_one_batch_overfits(
    config: ModelConfig,
    num_steps: int = 120,
    goal: float = 0.05,
    model_class: type[LanguageModel] = LanguageModel,
) -> None:
    """Adam brings the loss of one batch under `goal` nats a token."""
    model = new_model(dataclasses.replace(config, dropout=0.0), model_class=model_class)
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


def check_save_and_load(
    config: ModelConfig, folder: str | pathlib.Path, model_class: type[LanguageModel] = LanguageModel
) -> None:
    """A saved model comes back with the same configuration and the same logits, bit for bit."""
    model = _awake(config, model_class)
    token_ids = _token_ids(config, 2, 9)
    path = save_model(model, pathlib.Path(folder) / "model")
    again = load_model(path, dtype=model.dtype_policy)
    assert again.config == config, f"{config} came back as {again.config}"
    np.testing.assert_array_equal(logits_of(again, token_ids), logits_of(model, token_ids))


def check_causality(
    config: ModelConfig, length: int = 24, model_class: type[LanguageModel] = LanguageModel
) -> None:
    """Changing the tokens after t leaves the logits up to t as they were, end to end."""
    model = _awake(config, model_class)
    token_ids = _token_ids(config, 2, length)
    logits = logits_of(model, token_ids)
    for last in (0, length // 2, length - 2):
        changed = token_ids.copy()
        changed[:, last + 1 :] = 1 + changed[:, last + 1 :] % (config.vocab_size - 1)
        other = logits_of(model, changed)
        cut = last + 1
        assert np.abs(other[:, cut:] - logits[:, cut:]).max() > 1e-3, "the change had no effect"
        _assert_close(other[:, :cut], logits[:, :cut], f"tokens after {last} change earlier logits")


def check_packing(config: ModelConfig, model_class: type[LanguageModel] = LanguageModel) -> None:
    """A document packed into a row, behind another and before padding, has the logits it has alone."""
    model = _awake(config, model_class)
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


def check_batch_mates(config: ModelConfig, model_class: type[LanguageModel] = LanguageModel) -> None:
    """A row has the same logits alone and in a batch."""
    model = _awake(config, model_class)
    token_ids = _token_ids(config, 3, 9)
    logits = logits_of(model, token_ids)
    for row in range(3):
        alone = logits_of(model, token_ids[row : row + 1])
        _assert_close(alone[0], logits[row], f"row {row} depends on its batch mates")


def check_bfloat16(config: ModelConfig, model_class: type[LanguageModel] = LanguageModel) -> None:
    """Under mixed_bfloat16 weights and logits are float32, and the first loss is that of float32."""
    batch = _batch(config, rows=2, length=8)
    losses = []
    for dtype in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(0)
        model = model_class(**config.to_dict(), dtype=dtype)
        losses.append(float(model.loss_terms(batch, training=False)["loss_sum"]))
    for weight in model.weights:
        weight_dtype = keras.backend.standardize_dtype(weight.dtype)
        assert weight_dtype != "bfloat16", f"the weight {weight.path} is {weight_dtype} under mixed_bfloat16"
    logits = model(batch["token_ids"], training=False)
    logits_dtype = keras.backend.standardize_dtype(logits.dtype)
    assert logits_dtype == "float32", f"the logits are {logits_dtype} under mixed_bfloat16"
    assert abs(losses[1] - losses[0]) <= 0.02 * losses[0], (
        f"the first loss is {losses[0]:.4g} in float32 and {losses[1]:.4g} under mixed_bfloat16"
    )


def check_cached_decoding(
    config: ModelConfig, length: int = 14, model_class: type[LanguageModel] = LanguageModel
) -> None:
    """Prefill and single steps, over rows padded on the left, give each row's logits of one entire pass."""
    model = _awake(config, model_class)
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
    config: ModelConfig,
    changes: Mapping[str, Any],
    elsewhere: Collection[str] = (),
    model_class: type[LanguageModel] = LanguageModel,
) -> None:
    """Another value of any field changes the parameters, the logits, the losses or the memory.

    Args:
        config: The configuration to start from.
        changes: Another value for every field of `ModelConfig`.
        elsewhere: Fields of layers that this configuration does not have; check them with one that has.
        model_class: `LanguageModel` or a subclass.
    """
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    left_out = names - set(changes) - set(elsewhere)
    assert not left_out, f"`changes` must give another value for {', '.join(sorted(left_out))}"
    before = _behavior(config, model_class)
    assert _same(before, _behavior(config, model_class)), (
        "the same configuration and seed gave two different models"
    )
    for name, value in changes.items():
        changed = dataclasses.replace(config, **{name: value})
        assert changed != config, f"`changes` leaves `{name}` at {value!r}"
        assert not _same(before, _behavior(changed, model_class)), f"`{name}`={value!r} changes nothing"


def new_model(
    config: ModelConfig, seed: int = 0, model_class: type[LanguageModel] = LanguageModel
) -> LanguageModel:
    """Returns a model whose weights depend on the configuration and the seed alone."""
    keras.utils.set_random_seed(seed)
    return model_class(**config.to_dict())


def logits_of(model: LanguageModel, inputs: Any) -> np.ndarray:
    """Returns the logits without training, as an array."""
    call = lambda inputs: model(inputs, training=False)  # noqa: E731
    if keras.backend.backend() == "jax":  # eager JAX compiles every operation by itself, for every shape
        call = compiled_forms(call)["xla"]
    return ops.convert_to_numpy(call(inputs))


def _awake(config: ModelConfig, model_class: type[LanguageModel]) -> LanguageModel:
    model = new_model(config, model_class=model_class)
    _wake(model)
    return model


def _wake(model: LanguageModel) -> None:
    """Moves the weights away from their small start, so that every part changes the logits."""
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


def _behavior(config: ModelConfig, model_class: type[LanguageModel]) -> list[np.ndarray]:
    model = _awake(config, model_class)
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
