"""Spiking membranes against a loop over tokens, forward and backward."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops

from highnoon.layers.hatching.spiking_membrane import Membrane, parallel_spikes, sequential_spikes
from highnoon.layers.hatching.surrogate_gradients import surrogate_slope
from highnoon.testing.gradients import value_and_gradients

TIME, NEURONS = 40, 5
SEGMENTS = np.array([[1] * 13 + [2] * 11 + [3] * 16, [1] * TIME])


def membrane(reset: str, **arguments) -> Membrane:
    return Membrane(math.exp(-1 / 10), math.exp(-1 / 5), 1.0, -0.2, reset, **arguments)


@pytest.fixture(scope="module")
def drive() -> np.ndarray:
    return np.random.default_rng(0).normal(0.6, 1.5, (2, TIME, NEURONS)).astype("float32")


def restarts() -> np.ndarray:
    """As an array, also where a compiled function is traced."""
    changes = SEGMENTS[:, 1:] != SEGMENTS[:, :-1]
    return np.concatenate([np.zeros((2, 1), "int32"), np.cumsum(changes, axis=1)], axis=1).astype("int32")


def loop(m: Membrane, drive: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spikes, and the gradient of sum(weight * spikes) by the drive, each neuron and document alone."""
    spikes, gradient = np.zeros(drive.shape), np.zeros(drive.shape)
    for row in range(len(drive)):
        for document in np.unique(SEGMENTS[row]):
            span = SEGMENTS[row] == document
            inputs, weights = drive[row, span].astype("float64"), weight[row, span]
            after, current, potentials = np.full(NEURONS, m.rest), np.zeros(NEURONS), []
            for t, given in enumerate(inputs):
                current = m.syn_decay * current + given
                potential = m.mem_decay * after + (1 - m.mem_decay) * current
                potentials.append(potential)
                fired = potential > m.threshold
                spikes[row, np.flatnonzero(span)[t]] = fired
                after = {
                    "hard": np.where(fired, m.rest, potential),
                    "soft": potential - (m.threshold - m.rest) * fired,
                    "none": potential,
                }[m.reset]
            grad_after, grad_current = np.zeros(NEURONS), np.zeros(NEURONS)
            for t in reversed(range(len(inputs))):
                potential = potentials[t]
                slope = 1 / (1 + 10 * np.abs(potential - m.threshold)) ** 2
                fired = potential > m.threshold
                grad_spike = weights[t].copy()
                if not m.detaches_reset:
                    grad_spike += (
                        grad_after * {"hard": m.rest - potential, "soft": m.rest - m.threshold}[m.reset]
                    )
                left = 1.0 - fired if m.reset == "hard" else 1.0
                grad_potential = grad_spike * slope + grad_after * left
                grad_drive = (1 - m.mem_decay) * grad_potential + grad_current
                gradient[row, np.flatnonzero(span)[t]] = grad_drive
                grad_after, grad_current = m.mem_decay * grad_potential, m.syn_decay * grad_drive
    return spikes, gradient


def run_sequential(m: Membrane, drive):
    counts = restarts()
    keeps = np.ones((TIME, 2, 1), "float32")
    keeps[1:] = (counts[:, 1:] == counts[:, :-1]).T[..., None]
    state = (ops.full((2, NEURONS), m.rest), ops.zeros((2, NEURONS)))
    spikes, _ = sequential_spikes(m, ops.swapaxes(drive, 0, 1), ops.convert_to_tensor(keeps), state)
    return ops.swapaxes(spikes, 0, 1)


@pytest.mark.parametrize("detaches_reset", [True, False])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_the_sequential_form_is_the_loop(reset: str, detaches_reset: bool, drive: np.ndarray) -> None:
    m = membrane(reset, detaches_reset=detaches_reset)
    weight = np.random.default_rng(1).normal(size=drive.shape)
    spikes, gradient = loop(m, drive, weight)
    assert 0.05 < spikes.mean() < 0.5
    np.testing.assert_array_equal(
        ops.convert_to_numpy(run_sequential(m, ops.convert_to_tensor(drive))), spikes
    )
    _, (ours,) = value_and_gradients(
        lambda drive: ops.sum(run_sequential(m, drive) * ops.cast(weight, "float32")), drive
    )
    np.testing.assert_allclose(ours, gradient, atol=1e-5)


@pytest.mark.parametrize("chunk_length", [7, 64])
def test_the_parallel_form_is_the_loop_without_resets(chunk_length: int, drive: np.ndarray) -> None:
    m = membrane("none")._replace(rest=0.0)
    weight = np.random.default_rng(1).normal(size=drive.shape)
    spikes, gradient = loop(m, drive, weight)
    counts = ops.convert_to_tensor(restarts())
    np.testing.assert_array_equal(
        ops.convert_to_numpy(parallel_spikes(m, ops.convert_to_tensor(drive), counts, chunk_length)), spikes
    )
    _, (ours,) = value_and_gradients(
        lambda drive: ops.sum(parallel_spikes(m, drive, counts, chunk_length) * ops.cast(weight, "float32")),
        drive,
    )
    np.testing.assert_allclose(ours, gradient, atol=1e-5)


def test_equal_time_constants_have_a_kernel_too(drive: np.ndarray) -> None:
    m = Membrane(0.8, 0.8, reset="none")
    spikes, _ = loop(m, drive, np.zeros(drive.shape))
    counts = ops.convert_to_tensor(restarts())
    np.testing.assert_array_equal(
        ops.convert_to_numpy(parallel_spikes(m, ops.convert_to_tensor(drive), counts, 7)), spikes
    )


def test_the_slopes_of_the_surrogates() -> None:
    distance = np.array([0.0, 0.5, -0.5], "float32")
    np.testing.assert_allclose(
        surrogate_slope(distance, "fast_sigmoid", None), [1, 1 / 36, 1 / 36], rtol=1e-6
    )
    at_half = 1 / (1 + (math.pi / 2) ** 2)
    np.testing.assert_allclose(surrogate_slope(distance, "arctan", None), [1, at_half, at_half], rtol=1e-6)
