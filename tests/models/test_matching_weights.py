"""Weights that fit are loaded by name and shape, and the others are named."""

from __future__ import annotations

import numpy as np
import pytest

import highnoon as hn
from highnoon.models.matching_weights import MatchingWeights, load_matching_weights
from highnoon.models.saving import ModelFolderError

SHAPE = {"vocab_size": 64, "embedding_dim": 8, "num_reasoning_blocks": 1, "num_heads": 1, "ffn_dim": 8}


def make_model(**fields):
    return hn.create_model("highnoon-nano", **{**SHAPE, "block_pattern": "attention+mlp", **fields})


def test_what_fits_is_loaded_and_what_does_not_is_named_and_counted_by_parameters(tmp_path):
    saved, model = make_model(), make_model(ffn_dim=10)
    hn.save_model(saved, tmp_path / "saved")
    before = [np.asarray(weight) for weight in model.weights]
    match = load_matching_weights(model, tmp_path / "saved", least_fraction=0.5)
    fits = [
        tuple(one.shape) == tuple(two.shape) for one, two in zip(saved.weights, model.weights, strict=True)
    ]
    sizes = [int(np.prod(weight.shape)) for weight in model.weights]
    assert match.fraction == pytest.approx(np.dot(fits, sizes) / sum(sizes)) and not all(fits)
    for is_loaded, one, two, old in zip(fits, saved.weights, model.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(two), np.asarray(one) if is_loaded else old)
    assert len(match.loaded) == sum(fits) and len(match.skipped) == len(match.missing) == len(fits) - sum(
        fits
    )
    assert "(8, 8)" in match.skipped[0] and "(8, 10)" in match.missing[0]


def test_too_few_parameters_change_nothing(tmp_path):
    hn.save_model(make_model(), tmp_path / "saved")
    model = make_model(num_reasoning_blocks=4)
    before = [np.asarray(weight) for weight in model.weights]
    with pytest.raises(ModelFolderError, match=r"at least 90% .* missing \(reasoning_block_1/"):
        load_matching_weights(model, tmp_path / "saved")
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, np.asarray(weight))


def test_the_same_model_matches_completely(tmp_path):
    hn.save_model(make_model(), tmp_path / "saved")
    match = MatchingWeights.between(make_model(), tmp_path / "saved")
    assert match.is_complete and match.fraction == 1.0
