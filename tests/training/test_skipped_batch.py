"""The kept batch of a skipped step comes back, or its damage is named."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.training.runs.skipped_steps import (
    SkippedStep,
    SkippedSteps,
    read_skipped_batch,
    write_skipped_batch,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "step_00000007.npz"
    skipped = SkippedStep(7, 1, float("nan"), 3.0, {"stage": 0}, path)
    write_skipped_batch(path, skipped, {"token_ids": np.arange(500).reshape(5, 100)}, [[1, 2], [3]])
    return path


def test_a_kept_batch_comes_back_with_its_figures(path):
    batch, figures = read_skipped_batch(path)
    assert np.array_equal(batch["token_ids"], np.arange(500).reshape(5, 100))
    assert (figures["step"], figures["documents"]) == (7, [[1, 2], [3]])


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_flipped_bit_of_a_kept_batch_is_named(path, suffix):
    file = path.with_suffix(suffix)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"step_00000007{suffix}"):
        read_skipped_batch(path)


def test_what_a_killed_run_left_half_written_is_removed(path):
    path.with_suffix(".npz.tmp").touch()
    path.with_suffix(".json.tmp").touch()
    SkippedSteps(path.parent)
    assert sorted(file.name for file in path.parent.iterdir()) == ["step_00000007.json", "step_00000007.npz"]
