"""Batches of the samples that a curriculum chose."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from highnoon.training.curricula.curriculum_batches import create_curriculum_batches

SAMPLES = [f"text {i}" for i in range(10)]
LABELS = list(range(10))


def test_the_documented_arguments_and_defaults() -> None:
    parameters = inspect.signature(create_curriculum_batches).parameters
    assert {name: p.default for name, p in parameters.items()} == {
        "samples": inspect.Parameter.empty,
        "labels": None,
        "curriculum_indices": None,
        "batch_size": 32,
        "shuffle": True,
        "seed": None,
    }


def test_batches_hold_every_chosen_sample_once_with_its_label() -> None:
    chosen = [7, 1, 4, 2, 9]
    batches = create_curriculum_batches(SAMPLES, LABELS, chosen, batch_size=2, seed=1)
    assert [len(samples) for samples, _ in batches] == [2, 2, 1]
    pairs = [pair for samples, labels in batches for pair in zip(samples, labels, strict=True)]
    assert sorted(label for _, label in pairs) == sorted(chosen)
    assert all(sample == f"text {label}" for sample, label in pairs)


def test_without_shuffling_the_order_is_that_of_the_indices() -> None:
    batches = create_curriculum_batches(SAMPLES, LABELS, [3, 1, 2], batch_size=2, shuffle=False)
    assert batches == [(["text 3", "text 1"], [3, 1]), (["text 2"], [2])]


def test_a_seed_fixes_the_order_and_another_changes_it() -> None:
    first, again, other = (create_curriculum_batches(SAMPLES, LABELS, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_without_labels_and_indices_all_samples_come_alone() -> None:
    batches = create_curriculum_batches(SAMPLES, batch_size=8, shuffle=False)
    assert batches == [(SAMPLES[:8], None), (SAMPLES[8:], None)]


def test_arrays_stay_arrays() -> None:
    rows = np.arange(12).reshape(6, 2)
    ((samples, labels),) = create_curriculum_batches(rows, np.arange(6), np.array([5, 0]), shuffle=False)
    np.testing.assert_array_equal(samples, rows[[5, 0]])
    np.testing.assert_array_equal(labels, [5, 0])


@pytest.mark.parametrize(
    "kwargs, error, message",
    [
        ({"samples": SAMPLES, "labels": [1]}, ValueError, "one label for each of 10 samples; received 1"),
        ({"samples": SAMPLES, "batch_size": 0}, ValueError, "`batch_size`"),
        ({"samples": SAMPLES, "curriculum_indices": [10]}, IndexError, "between 0 and 9"),
        ({"samples": SAMPLES, "curriculum_indices": [-1]}, IndexError, "between 0 and 9"),
        ({"samples": SAMPLES, "curriculum_indices": [0.5]}, ValueError, "sequence of integers"),
    ],
)
def test_bad_arguments_are_named(kwargs: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        create_curriculum_batches(**kwargs)


def test_no_chosen_samples_give_no_batches() -> None:
    assert create_curriculum_batches(SAMPLES, curriculum_indices=[]) == []
