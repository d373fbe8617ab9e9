"""A learner without a run: a loop of one's own takes steps, saves and resumes exactly."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

from highnoon.config import ConfigError, TrainingConfig
from highnoon.training.checkpoints.checkpoint import CheckpointError
from highnoon.training.learner import Learner
from highnoon.training.objective import NextToken
from highnoon.training.steps.run_schedule import RunSchedule

VOCAB = 20


def make_learner(seed: int = 0, **options: object) -> Learner:
    keras.utils.set_random_seed(seed)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
    hidden = keras.layers.Embedding(VOCAB, 8, name="embedding")(token_ids)
    hidden = keras.layers.Dropout(0.2, seed=4)(hidden)
    logits = keras.layers.Dense(VOCAB, name="head")(hidden)
    model = keras.Model({"token_ids": token_ids, "padding_mask": padding_mask}, logits)
    schedule = RunSchedule([1e-2], [20], warmup_steps=0)
    return Learner(model, TrainingConfig(batch_size=2), schedule, **options)  # type: ignore[arg-type]


def batch_from(learner: Learner) -> dict[str, np.ndarray]:
    """Rows that depend on the weights, as rollouts do."""
    weights = np.asarray(learner.model.get_layer("embedding").embeddings)
    ids = np.argsort(weights[:4], axis=1).astype(np.int32) % VOCAB
    ones = np.ones_like(ids)
    return {
        "token_ids": ids,
        "labels": np.roll(ids, -1, axis=1),
        "segment_ids": ones,
        "positions": ones * np.arange(8, dtype=np.int32),
        "loss_weights": ones.astype("float32"),
    }


def values(learner: Learner) -> list[bytes]:
    variables = [*learner.model.variables, *learner.optimizer.variables, *learner.state.variables]
    return [keras.ops.convert_to_numpy(variable).tobytes() for variable in variables]


def test_a_loop_on_a_learner_resumes_exactly_also_where_it_trains_a_part(tmp_path: pathlib.Path) -> None:
    learner, objective = make_learner(), NextToken()
    learner.step(batch_from(learner), objective)
    learner.select_trainable(["*head*"])
    learner.step(batch_from(learner), objective)
    write = learner.capture()
    kept = values(learner)
    folder = tmp_path / "saved"
    folder.mkdir()
    write(folder)
    learner.step(batch_from(learner), objective)
    after = values(learner)
    other = make_learner(seed=5)
    other.restore(folder)
    assert values(other) == kept and other.trainable == ["*head*"]
    other.evaluate([batch_from(other)], objective)
    other.step(batch_from(other), objective)
    assert values(other) == after != kept
    other.release()
    assert all(weight.trainable for weight in other.model.weights)


def test_a_checkpoint_without_a_readable_state_and_a_batch_without_a_column_are_refused(
    tmp_path: pathlib.Path,
) -> None:
    learner = make_learner()
    (tmp_path / "state.json").write_text('{"learner": {"trainable": 3, "slots_since": []}}')
    with pytest.raises(CheckpointError, match="`learner.trainable` is 3"):
        learner.restore(tmp_path)
    batch = batch_from(learner)
    del batch["labels"]
    with pytest.raises(ConfigError, match="without `labels`"):
        learner.step(batch, NextToken())
    batch = batch_from(learner) | {"labels": np.zeros((4,), np.int32)}
    with pytest.raises(ConfigError, match="a row of column `labels` must have the axes"):
        learner.step(batch, NextToken())


def test_a_step_that_does_not_fit_is_taken_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    from highnoon.training.steps.step import TrainStep

    call = TrainStep.__call__

    def limited(self, *args, **options):
        if self.micro_batch_size > 1:
            raise MemoryError("too large")
        return call(self, *args, **options)

    monkeypatch.setattr(TrainStep, "__call__", limited)
    learner = make_learner(auto_batch=True)
    learner.step(batch_from(learner), NextToken())
    assert learner.micro_batch_size == 1 and int(learner.optimizer.iterations) == 1
    with pytest.raises(MemoryError):
        make_learner().step(batch_from(learner), NextToken())
