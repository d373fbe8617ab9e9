"""Variables to arrays and back."""

from __future__ import annotations

import errno

import keras
import ml_dtypes
import numpy as np
import pytest

from highnoon.models.arrays import assign_arrays, load_arrays, save_arrays, variable_arrays, variable_names


def small_model():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3)(inputs)
    x = keras.layers.Dropout(0.5)(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile(keras.optimizers.AdamW(), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_names_are_the_same_for_every_instance_and_carry_no_root():
    first, second = small_model(), small_model()
    names = variable_names(first.variables)
    assert names == variable_names(second.variables)
    assert len(set(names)) == len(names) == 5
    assert "dense/kernel" in names and "dense_1/kernel" in names
    assert any("seed_generator" in name for name in names)
    assert "iteration" in variable_names(first.optimizer.variables)


def test_families_numbered_on_purpose_keep_their_numbers():
    variables = []
    for block in (0, 1, 10):
        layer = keras.layers.Dense(2, name=f"block_{block}")
        layer.build((None, 2))
        variables += layer.variables
    assert variable_names(variables)[::2] == ["block_0/kernel", "block_1/kernel", "block_10/kernel"]


def test_equal_paths_get_distinct_names():
    variables = [keras.Variable(np.zeros(2), name="twin") for _ in range(3)]
    assert variable_names(variables) == ["twin", "twin#1", "twin#2"]


def test_every_kind_of_array_survives_the_file(tmp_path):
    arrays = {
        "bfloat16": np.array([1.5, -2.0], ml_dtypes.bfloat16),
        "seed": np.array([7, 2**32 - 1], np.uint32),
        "step": np.array(2**40, np.int64),
        "flag": np.array(True),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "empty": np.zeros((0, 3), np.float32),
    }
    save_arrays(tmp_path / "a.safetensors", arrays)
    loaded = load_arrays(tmp_path / "a.safetensors")
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype and loaded[name].shape == array.shape
        np.testing.assert_array_equal(loaded[name], array)


def test_a_saved_file_has_the_permissions_of_an_ordinary_one(tmp_path):
    (tmp_path / "plain").write_text("")
    save_arrays(tmp_path / "a.safetensors", {"x": np.zeros(2)})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_model_and_optimizer_go_through_arrays_to_another_instance():
    first, second = small_model(), small_model()
    first.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    for kind in ("model", "optimizer"):
        source, target = (m if kind == "model" else m.optimizer for m in (first, second))
        if kind == "model":
            assign_arrays(target.variables, variable_arrays(source.variables), owner=kind)
        else:
            # Slots are named after the model's variables, which plain Keras numbers globally.
            values = dict(
                zip(variable_names(target.variables), variable_arrays(source.variables).values(), strict=True)
            )
            assign_arrays(target.variables, values, owner=kind)
        for a, b in zip(source.variables, target.variables, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda a: a.pop("dense/kernel"), "1 missing (dense/kernel)"),
        (lambda a: a.update(other=np.zeros(1)), "1 unexpected (other)"),
        (lambda a: a.update({"dense/kernel": np.zeros((9, 9))}), "`dense/kernel` has shape (9, 9)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_change_nothing(change, words):
    model = small_model()
    arrays = {name: array + 1 for name, array in variable_arrays(model.variables).items()}
    before = variable_arrays(model.variables)
    change(arrays)
    with pytest.raises(ValueError) as error:
        assign_arrays(model.variables, arrays, owner="the model")
    assert words in str(error.value)
    for name, array in variable_arrays(model.variables).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": np.arange(100.0)})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="a.safetensors is damaged"):
        load_arrays(path)
    with pytest.raises(FileNotFoundError, match="none.safetensors"):
        load_arrays(tmp_path / "none.safetensors")


def test_a_write_that_fails_is_an_os_error_and_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": np.arange(3)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        for name in ("a.safetensors", "b.safetensors"):
            with pytest.raises(OSError) as error:
                save_arrays(tmp_path / name, {"x": np.zeros(100_000)})
            assert error.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    np.testing.assert_array_equal(load_arrays(path)["x"], np.arange(3))
    assert [child.name for child in tmp_path.iterdir()] == ["a.safetensors"]
