"""Optimizers against Keras's own and closed forms; Muon's matrices one by one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import TrainingConfig
from highnoon.training.optimizers import Adafactor, AdamW, FunctionalOptimizer, Lion, Muon, make_optimizer
from highnoon.training.optimizers.muon import matrix_shapes, orthogonalized

RNG = np.random.default_rng(0)


def variable(*shape: int, name: str = "kernel") -> keras.Variable:
    return keras.Variable(RNG.normal(size=shape).astype("float32"), name=name)


def steps(optimizer, weights, gradients, schedule=None) -> list[np.ndarray]:
    for step in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient) for gradient in step], weights)
    return [ops.convert_to_numpy(weight) for weight in weights]


def random_gradients(weights, count: int = 5) -> list[list[np.ndarray]]:
    shapes = [tuple(weight.shape) for weight in weights]
    return [[RNG.normal(size=shape).astype("float32") for shape in shapes] for _ in range(count)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (AdamW(1e-2, weight_decay=0.1, epsilon=1e-7), keras.optimizers.AdamW(1e-2, weight_decay=0.1)),
        (Lion(1e-2, weight_decay=0.0), keras.optimizers.Lion(1e-2, beta_2=0.99)),
    ],
)
def test_an_update_is_that_of_keras(ours, theirs):
    weights = [variable(5, 4), variable(4, 6)]
    copies = [keras.Variable(ops.convert_to_numpy(weight), name="kernel") for weight in weights]
    gradients = random_gradients(weights)
    for one, other in zip(steps(ours, weights, gradients), steps(theirs, copies, gradients), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_decay_is_kept_off_norms_biases_and_embeddings():
    zeros = [[np.zeros((4, 4), "float32")] * 2]
    optimizer = AdamW(0.1, weight_decay=0.5)
    kernel, embedding = variable(4, 4), variable(4, 4, name="embeddings")
    before = [ops.convert_to_numpy(weight) for weight in (kernel, embedding)]
    after = steps(optimizer, [kernel, embedding], zeros)
    np.testing.assert_allclose(after[0], before[0] * 0.95, rtol=1e-6)
    np.testing.assert_array_equal(after[1], before[1])


def test_adafactor_finds_the_scale_from_rows_and_columns():
    weight, optimizer = variable(6, 4), Adafactor(0.1)
    before, (gradient,) = ops.convert_to_numpy(weight), random_gradients([weight], 1)[0]
    rows, columns = (gradient**2).mean(1), (gradient**2).mean(0)
    direction = gradient / np.sqrt(rows[:, None] * columns[None] / rows.mean())
    direction /= max(1.0, np.sqrt((direction**2).mean()))
    expected = before - 0.1 * np.sqrt((before**2).mean()) * direction
    np.testing.assert_allclose(steps(optimizer, [weight], [[gradient]])[0], expected, rtol=1e-4, atol=1e-5)
    sizes = sum(int(np.prod(slot.shape)) for slot in optimizer.slots_of(weight).values())
    assert sizes == 6 + 4


def singular_values(matrices: np.ndarray) -> np.ndarray:
    return np.linalg.svd(matrices, compute_uv=False)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 16, 5), (2, 5, 16)])
def test_every_stacked_matrix_is_made_orthogonal_by_itself(shape):
    matrices = RNG.normal(size=shape).astype("float32")
    matrices[0] *= 1e3  # the size of one must not matter to another
    together = ops.convert_to_numpy(orthogonalized(ops.convert_to_tensor(matrices)))
    for matrix, result in zip(matrices, together, strict=True):
        alone = ops.convert_to_numpy(orthogonalized(ops.convert_to_tensor(matrix[None])))[0]
        np.testing.assert_allclose(result, alone, atol=1e-4)
        assert singular_values(result).min() > 0.5 and singular_values(result).max() < 1.3
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        assert np.trace(result.T @ (left @ right)) / min(shape[1:]) > 0.7


def test_the_update_of_each_stacked_expert_is_orthogonal():
    shape = {"vocab_size": 64, "embedding_dim": 32, "expert_dim": 48, "num_reasoning_blocks": 1}
    model = hn.create_model("highnoon-nano", **shape)
    experts = next(layer for layer in model._flatten_layers() if type(layer).__name__ == "ExpertStack")
    optimizer = make_optimizer(model, TrainingConfig(optimizer="muon", weight_decay=0.0), 0.1)
    weights = model.trainable_variables
    before = ops.convert_to_numpy(experts.down_kernel)
    steps(optimizer, weights, random_gradients(weights, 1))
    update = (before - ops.convert_to_numpy(experts.down_kernel)) / (0.1 * 0.2 * np.sqrt(48))
    assert update.shape == (4, 48, 32)
    for matrix in update:
        assert singular_values(matrix).min() > 0.5 and singular_values(matrix).max() < 1.3


def test_muon_takes_all_matrices_that_multiply_hidden_states_and_nothing_else():
    model = hn.create_model(
        "highnoon-nano",
        block_pattern="attention+moe, mamba+mlp, gated_delta_rule+mlp, latent_attention+mlp",
        num_reasoning_blocks=1,
        num_shared_experts=1,
        tie_embeddings=False,
    )
    chosen = matrix_shapes(model)
    others = [weight.path for weight in model.trainable_variables if weight.path not in chosen]
    for part in ("embedding", "norm", "bias", "conv1d", "A_log", "/D"):
        assert not any(part in path for path in chosen)
    assert not [path for path in others if path.endswith("kernel") and "conv1d" not in path]
    stacked = [shape for path, shape in chosen.items() if "experts" in path]
    assert len(stacked) == 3 and all(shape[0] == 4 for shape in stacked)
    assert {path.split("/")[-1] for path in others if "embedding" in path} == {
        "embeddings",
        "reverse_embeddings",
    }


def test_einsum_kernels_are_matrices_in_the_shape_in_which_they_multiply():
    attention = keras.layers.MultiHeadAttention(num_heads=3, key_dim=4)
    inputs = keras.Input((5, 12))
    shapes = matrix_shapes(keras.Model(inputs, keras.layers.ReLU()(attention(inputs, inputs))))
    by_part = {path.split("/")[-2]: shape for path, shape in shapes.items()}
    assert by_part["query"] == (1, 12, 12) and by_part["attention_output"] == (1, 12, 12)
    mixed = keras.layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 5))
    inputs = keras.Input((7, 6))
    (shape,) = matrix_shapes(keras.Model(inputs, keras.layers.ReLU()(mixed(inputs)))).values()
    assert shape == (1, 6, 10)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lion", "muon"])
def test_every_optimizer_round_trips_and_lowers_a_loss(name):
    keras.utils.set_random_seed(0)
    hidden, head = keras.layers.Dense(16, activation="gelu"), keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((8,)), hidden, head])
    rate = {"adafactor": 0.1, "lion": 1e-2}.get(name, 3e-2)
    optimizer = make_optimizer(model, TrainingConfig(optimizer=name, weight_decay=0.0), rate)
    again = type(optimizer).from_config(optimizer.get_config())
    assert isinstance(again, FunctionalOptimizer) and again.get_config() == optimizer.get_config()
    model.compile(optimizer, "mse")
    x = RNG.normal(size=(64, 8)).astype("float32")
    y = np.tanh(x[:, :3])
    history = model.fit(x, y, epochs=20, batch_size=32, verbose=0).history["loss"]
    assert history[-1] < 0.3 * history[0]


def test_the_learning_rate_factor_cuts_the_rate_of_a_schedule():
    weight = variable(3, 3)
    optimizer = Lion(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 1.0), weight_decay=0.0)
    optimizer.build([weight])
    optimizer.learning_rate_factor.assign(0.25)
    before = ops.convert_to_numpy(weight)
    (after,) = steps(optimizer, [weight], random_gradients([weight], 1))
    np.testing.assert_allclose(np.abs(after - before), 0.025, rtol=1e-3)
    assert any(saved is optimizer.learning_rate_factor for saved in optimizer.variables)


def test_muon_without_shapes_takes_plain_kernels_alone():
    optimizer = Muon(0.1)
    assert optimizer.matrix_shape(variable(4, 5)) == (1, 4, 5)
    assert optimizer.matrix_shape(variable(4, 5, name="embeddings")) is None
    assert optimizer.matrix_shape(variable(2, 4, 5)) is None
