"""Any number of replicas and micro-batches gives the weights of one device with the same global batch."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

HERE = pathlib.Path(__file__).parent
GRID = [f"{r}x{a}:{r}:{16 // (r * a)}" for r in (1, 2, 4) for a in (1, 2, 4)]
OTHERS = [
    "experts 1:1:16",
    "experts 2:2:4",
    "dropped 1:1:4:float32:0.2",
    "dropped 2:2:4:float32:0.2",
    "dropped 1 by twos:1:2:float32:0.2",
    "bfloat16 1:1:4:mixed_bfloat16",
    "bfloat16 2:2:4:mixed_bfloat16",
    "float16 1:1:4:mixed_float16",
    "float16 2:2:4:mixed_float16",
    "keras 1:1:16:float32:0.0:keras",
    "keras 2:2:4:float32:0.0:keras",
    "keras spoilt 2:2:4:float32:0.0:keras",
    "plastic 1:1:16",
    "plastic 2:2:4",
    "plastic off 1:1:16",
    "spoilt 1:1:16",
    "spoilt 2:2:4",
    "spoilt several 2:2:4",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("replicas")
    command = [sys.executable, str(HERE / "replica_runs.py"), str(folder), *GRID, *OTHERS]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-4000:]
    return {path.stem: dict(np.load(path)) for path in folder.iterdir()}


def assert_same_weights(one: dict[str, np.ndarray], other: dict[str, np.ndarray]):
    assert one.keys() == other.keys() and len(one) > 15
    for name, value in one.items():
        if value.dtype.kind == "f":
            error = np.abs(value - other[name]).max() / max(np.abs(value).max(), 1e-12)
            assert error <= 1e-5, f"{name} is off by {error:.1e}"


@pytest.mark.parametrize("split", [spec.split(":")[0] for spec in GRID[1:]])
def test_replicas_and_micro_batches_give_the_weights_of_one_batch(results, split):
    assert results["1x1"]["losses"][-1] < results["1x1"]["losses"][0]
    assert max(results["1x1"]["norms"]) > 0.5, "the clip never acted"
    assert_same_weights(results["1x1"], results[split])


def test_an_optimizer_of_keras_gives_the_weights_of_one_batch_too(results):
    assert_same_weights(results["keras 1"], results["keras 2"])
    assert np.flatnonzero(results["keras spoilt 2"]["skipped"]).tolist() == [3, 7]
    assert all(
        np.isfinite(value).all() for key, value in results["keras spoilt 2"].items() if "weight" in key
    )


def test_the_routers_bias_is_balanced_over_all_replicas(results):
    assert_same_weights(results["experts 1"], results["experts 2"])


def test_spike_timing_changes_the_same_weights_on_any_number_of_replicas(results):
    one, two = results["plastic 1"], results["plastic 2"]
    assert one.keys() == two.keys()
    for name, value in one.items():
        if name.startswith("weight"):
            np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-6, err_msg=name)
    assert np.abs(one["weight 1"] - results["plastic off 1"]["weight 1"]).max() > 1e-3  # the encoder
    for name in ("weight 0", "weight 3"):  # what follows of it in other weights
        assert np.abs(one[name] - results["plastic off 1"][name]).max() < 5e-4


def test_dropout_draws_by_the_position_in_the_global_batch(results):
    assert_same_weights(results["dropped 1"], results["dropped 2"])
    # Micro-batches of another size draw other masks.
    assert np.abs(results["dropped 1"]["losses"] - results["dropped 1 by twos"]["losses"]).max() > 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_losses_of_replicas_agree_in_half_precision(results, dtype):
    one, two = results[f"{dtype} 1"]["losses"], results[f"{dtype} 2"]["losses"]
    np.testing.assert_allclose(one, two, rtol=0.02)
    np.testing.assert_allclose(one, results["1x4"]["losses"], rtol=0.02)
    assert not results[f"{dtype} 2"]["skipped"].any()


def test_a_bad_row_of_one_replica_is_skipped_by_all(results):
    for name in ("spoilt 1", "spoilt 2", "spoilt several 2"):
        assert np.flatnonzero(results[name]["skipped"]).tolist() == [3, 7]
        assert all(np.isfinite(value).all() for key, value in results[name].items() if "weight" in key)
    assert_same_weights(
        {key: value for key, value in results["spoilt 1"].items() if key != "losses" and key != "norms"},
        {key: value for key, value in results["spoilt 2"].items() if key != "losses" and key != "norms"},
    )


def test_several_steps_of_a_call_are_those_of_as_many_calls(results):
    one, other = results["spoilt 2"], results["spoilt several 2"]
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
