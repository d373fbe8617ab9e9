"""Policies on 64 enumerable sequences, in float64: each algorithm reaches the optimum that is known.

The largest reward minus beta times the divergence from the reference is that of `ref * exp(r / beta)`.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from expected_training import train
from tabular import REWARDS, TabularPolicy, divergence, optimum, probabilities

from highnoon.alignment import PolicyGradient

BETA = 1.0
ITERATIONS, RATE = 200, 0.06


@pytest.fixture(scope="module")
def reference():
    return TabularPolicy(seed=0)


def table_of(policy):
    return keras.ops.convert_to_numpy(policy.table)


@pytest.mark.parametrize(
    ("preset", "axes", "epochs"),
    [
        ("ppo", {}, 2),
        ("rloo", {}, 1),
        ("reinforce", {}, 1),
        ("dr_grpo", {"kl": "exact"}, 2),
        ("grpo", {"kl": "exact", "scale_rewards": False}, 2),
    ],
)
def test_the_optimum_is_reached(reference, preset, axes, epochs):
    objective = PolicyGradient(preset, reference=reference, kl_weight=BETA, **axes)
    found = probabilities(train(objective, reference, ITERATIONS, RATE, epochs))
    best = optimum(table_of(reference), REWARDS, BETA)
    assert divergence(best, probabilities(table_of(reference))) > 0.5
    assert divergence(found, best) < 1e-3


def test_grpo_with_scaled_rewards_reaches_a_fixed_point_of_its_own(reference):
    objective = PolicyGradient("grpo", reference=reference, kl="exact", kl_weight=BETA)
    found = probabilities(train(objective, reference, ITERATIONS, RATE, 2))
    mean = np.sum(found * REWARDS)
    sigma = np.sqrt(np.sum(found * (REWARDS - mean) ** 2)) + 1e-4
    table = table_of(reference)
    assert divergence(found, optimum(table, REWARDS, BETA * sigma)) < 1e-3
    assert divergence(found, optimum(table, REWARDS, BETA)) > 0.05


def test_a_very_large_weight_of_the_divergence_keeps_the_reference(reference):
    objective = PolicyGradient("ppo", reference=reference, kl_weight=1e6, whiten=False)
    found = probabilities(train(objective, reference, 50, RATE, 2))
    assert divergence(found, probabilities(table_of(reference))) < 1e-4
