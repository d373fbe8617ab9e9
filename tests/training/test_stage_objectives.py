"""Objectives, trained weights and evaluators of stages: in the plan, exact when resumed, watched."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.models.arrays import load_arrays, variable_arrays
from highnoon.tokenization import ByteTokenizer
from highnoon.training import CheckpointError
from highnoon.training.checkpoints.snapshot import OPTIMIZER_FILE
from highnoon.training.evaluators import Evaluator, Figure, register_evaluator
from highnoon.training.learner import Learner
from highnoon.training.objective import Metric, NextToken, Terms, loss_terms, register_objective
from highnoon.training.steps.evaluation import SplitSums

QUIET: dict[str, Any] = {"log_dir": None, "verbose": False}
VOCAB = 263


def tiny_model(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
    hidden = keras.layers.Embedding(VOCAB, 8, name="embedding")(token_ids)
    hidden = keras.layers.Dense(8, activation="tanh", name="middle")(hidden)
    hidden = keras.layers.Dropout(0.1, seed=seed)(hidden)
    logits = keras.layers.Dense(VOCAB, name="head")(hidden)
    return keras.Model({"token_ids": token_ids, "padding_mask": padding_mask}, logits)


@register_objective("test_noisy_teacher")
class NoisyTeacher(NextToken):
    """Next token, and the distance from a noisy teacher: reads a frozen model and draws random numbers."""

    def __init__(self, factor: float = 0.1, teacher: keras.Model | None = None) -> None:
        self.factor = factor
        self.teacher = tiny_model(seed=9) if teacher is None else teacher
        self.noise = keras.random.SeedGenerator(5)

    def frozen_models(self) -> dict[str, keras.Model]:
        return {"teacher": self.teacher}

    def seed_generators(self) -> list[keras.random.SeedGenerator]:
        return [self.noise]

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        sums = loss_terms(model, dict(batch), training)
        inputs = {"token_ids": batch["token_ids"], "padding_mask": batch["segment_ids"] > 0}
        taught = self.teacher(inputs, training=False)
        noise = keras.random.normal(ops.shape(taught), seed=self.noise)
        distance = ops.sum(ops.square(model(inputs, training=training) - taught - noise), axis=-1)
        distance = ops.sum(distance * batch["loss_weights"])
        loss = sums["loss_sum"] + self.factor * distance
        return Terms(loss, ops.zeros(()), {"distance": Metric(distance, self.weight(batch))})

    def report(self, loss: float, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        return {"loss": loss, **self.metric_values(metrics)}

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor}


@register_evaluator("test_drawn")
class Drawn(Evaluator):
    """Draws from every stream there is."""

    def evaluate(self, model: keras.Model, sample: Mapping[str, np.ndarray], step: int) -> dict[str, Figure]:
        drawn = np.random.rand() + float(keras.random.uniform(()))
        inputs = {"token_ids": sample["token_ids"], "padding_mask": sample["segment_ids"] > 0}
        model(inputs, training=True)
        return {"drawn": Figure(drawn, 1), "tokens": Figure(float(sample["token_ids"].sum()), len(sample))}


def make_trainer(corpus: str, model: keras.Model | None = None, **options: Any) -> hn.Trainer:
    model = tiny_model() if model is None else model
    return hn.Trainer(
        model,
        batch_size=2,
        gradient_accumulation_steps=2,
        max_seq_length=16,
        tokenizer=ByteTokenizer(),
        learning_rate=1e-2,
        **options,
    )


def values(trainer: hn.Trainer) -> list[bytes]:
    assert trainer.optimizer is not None
    variables = [*trainer.model.weights, *trainer.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable).tobytes() for variable in variables]


def stages_with_a_teacher(trainer: hn.Trainer, corpus: str, **options: Any) -> hn.Trainer:
    trainer.add_curriculum_stage("taught", corpus, steps=6, objective=NoisyTeacher(**options))
    return trainer


def test_a_run_with_noise_and_a_teacher_resumes_exactly_and_evaluating_changes_nothing(
    corpus: str, tmp_path: pathlib.Path
) -> None:
    whole = stages_with_a_teacher(make_trainer(corpus), corpus)
    whole.train(checkpoint_dir=tmp_path / "a", checkpoint_interval=3, keep_checkpoints=9, **QUIET)
    resumed = stages_with_a_teacher(make_trainer(corpus), corpus)
    resumed.evaluators = [Drawn()]
    resumed.train(
        resume_from=tmp_path / "a" / "step_00000003", checkpoint_dir=tmp_path / "b", eval_interval=1, **QUIET
    )
    assert values(whole) == values(resumed)
    folder = tmp_path / "a" / "step_00000003"
    saved = set(load_arrays(folder / "model.safetensors")) | set(load_arrays(folder / OPTIMIZER_FILE))
    assert "objective/0/0" in saved and not any("teacher" in name for name in saved)
    sizes = sum(array.size for array in load_arrays(folder / "model.safetensors").values())
    assert sizes == whole.model.count_params()


def test_another_objective_or_teacher_is_refused_when_resumed(corpus: str, tmp_path: pathlib.Path) -> None:
    trainer = stages_with_a_teacher(make_trainer(corpus), corpus)
    assert "objective test_noisy_teacher (factor=0.1)" in str(trainer.plan())
    trainer.train(checkpoint_dir=tmp_path / "c", **QUIET)
    others = {
        "objective": {"factor": 0.5},
        "frozen_models": {"teacher": tiny_model(seed=10)},
    }
    for name, options in others.items():
        other = stages_with_a_teacher(make_trainer(corpus), corpus, **options)
        with pytest.raises(CheckpointError, match=name):
            other.train(checkpoint_dir=tmp_path / "c", resume_from=True, **QUIET)
    allowed = stages_with_a_teacher(make_trainer(corpus), corpus, factor=0.5)
    summary = allowed.train(checkpoint_dir=tmp_path / "c", resume_from=True, allow_plan_change=True, **QUIET)
    assert summary["total_steps"] == 6


def test_a_frozen_model_that_changes_ends_the_run(corpus: str) -> None:
    objective = NoisyTeacher()
    trainer = make_trainer(corpus)
    trainer.add_curriculum_stage("taught", corpus, steps=2, objective=objective)

    def spoil(event: dict[str, Any]) -> None:
        if event["event"] == "step_end":
            objective.teacher.weights[0].assign_add(ops.ones_like(objective.teacher.weights[0]))

    with pytest.raises(RuntimeError, match="`teacher`, a frozen model of NoisyTeacher, changed"):
        trainer.train(save_checkpoints=False, callbacks=[spoil], **QUIET)


def test_figures_of_an_objective_and_of_evaluators_are_logged_as_val(
    corpus: str, tmp_path: pathlib.Path
) -> None:
    events: list[dict[str, Any]] = []
    trainer = make_trainer(corpus, objective="test_noisy_teacher")
    trainer.add_curriculum_stage("taught", corpus, steps=2)
    trainer.add_callback(events.append)
    trainer.train(save_checkpoints=False, log_dir=tmp_path / "logs", verbose=False, evaluators=["test_drawn"])
    (evaluation,) = [event for event in events if event["event"] == "evaluation"]
    metrics = evaluation["metrics"]
    assert set(metrics) == {"val/loss", "val/distance", "val/drawn", "val/tokens"}
    assert set(evaluation["counts"]) == {"val/drawn", "val/tokens"} and metrics["val/distance"] > 1
    log = next(event for event in events if event["event"] == "log")
    assert log["metrics"]["train/distance"] > 1
    begun = next(event for event in events if event["event"] == "stage_begin")
    assert begun["alerts_off"] == [] and "high_loss" in hn.training.objective.Objective.alerts_off
    (path,) = (tmp_path / "logs").rglob("metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert any("val/drawn" in line for line in lines)
    with pytest.raises(ConfigError, match="each of `evaluators` must be"):
        trainer.train(evaluators=["nobody"], **QUIET)


def partly_trained(trainer: hn.Trainer, corpus: str) -> hn.Trainer:
    trainer.add_curriculum_stage("head", corpus, steps=4, trainable=["*head*", "*middle*"])
    trainer.add_curriculum_stage("lower", corpus, steps=4, trainable=["*middle*", "*embedding*"])
    return trainer


@pytest.mark.parametrize("optimizer", ["adamw"])
@pytest.mark.slow
def test_stages_train_the_weights_that_they_name_and_resume_exactly(
    corpus: str, tmp_path: pathlib.Path, optimizer: str
) -> None:
    options = {"optimizer": optimizer, "ema_momentum": 0.9}
    whole = partly_trained(make_trainer(corpus, **options), corpus)
    at_end: dict[str, dict[str, np.ndarray]] = {"begin": variable_arrays(whole.model.weights)}
    slots: list[set[str]] = []

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "stage_complete":
            at_end[event["stage"]] = variable_arrays(whole.model.weights)
            slots.append({variable.path for variable in whole.model.optimizer.variables})

    whole.train(
        checkpoint_dir=tmp_path / "a",
        checkpoint_interval=1,
        keep_checkpoints=99,
        callbacks=[note],
        **QUIET,
    )

    def changed(before: str, after: str) -> set[str]:
        return {
            name.split("/")[0]
            for name, array in at_end[before].items()
            if array.tobytes() != at_end[after][name].tobytes()
        }

    assert changed("begin", "head") == {"middle", "head"}
    assert changed("head", "lower") == {"embedding", "middle"}
    assert any("head" in path for path in slots[0]) and not any("embedding" in path for path in slots[0])
    assert any("embedding" in path for path in slots[1]) and not any("head" in path for path in slots[1])
    assert all(weight.trainable for weight in whole.model.weights), "the flags were not put back"
    for step in (2, 4, 6):
        resumed = partly_trained(make_trainer(corpus, **options), corpus)
        resumed.train(
            resume_from=tmp_path / "a" / f"step_{step:08d}", checkpoint_dir=tmp_path / f"b{step}", **QUIET
        )
        assert values(whole) == values(resumed), f"resumed at step {step}"


def test_weights_trained_in_both_stages_keep_their_slots(corpus: str) -> None:
    trainer = partly_trained(make_trainer(corpus), corpus)
    seen: dict[str, np.ndarray] = {}

    def note(event: dict[str, Any]) -> None:
        middle = next(w for w in trainer.model.trainable_weights if "middle" in w.path)
        optimizer = trainer.model.optimizer
        if event["event"] in ("stage_complete", "stage_begin"):
            seen[f"{event['event']} {event['stage']}"] = optimizer.slots_of(middle)["mean"].numpy()

    trainer.train(save_checkpoints=False, callbacks=[note], **QUIET)
    np.testing.assert_array_equal(seen["stage_complete head"], seen["stage_begin lower"])
    assert np.abs(seen["stage_begin lower"]).max() > 0
    assert trainer.optimizer is not None
    assert sorted(set(trainer.optimizer.slots_since())) == [0, 4]


def test_the_best_weights_of_an_earlier_stage_come_back_with_their_averages(
    corpus: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[dict[str, np.ndarray]] = []

    class BestInTheFirstStage(Learner):
        def evaluate(self, batches: Any, objective: Any) -> SplitSums:
            evaluated.append(variable_arrays(self.model.weights))
            return SplitSums([50.0, 40.0, 60.0, 70.0][len(evaluated) - 1], 10.0)

    monkeypatch.setattr(hn.Trainer, "learner_class", BestInTheFirstStage)
    trainer = partly_trained(make_trainer(corpus, ema_momentum=0.5), corpus)
    summary = trainer.train(checkpoint_dir=tmp_path / "c", eval_interval=2, restore_best=True, **QUIET)
    assert (summary["weights"], summary["best_step"], len(evaluated)) == ("best", 4, 4)
    for name, array in variable_arrays(trainer.model.weights).items():
        np.testing.assert_array_equal(array, evaluated[1][name], err_msg=name)


def test_the_plan_shows_what_is_trained_and_an_unknown_pattern_is_refused(
    corpus: str, tmp_path: pathlib.Path, make_model: Callable[..., keras.Model]
) -> None:
    trainer = make_trainer(corpus)
    trainer.add_curriculum_stage("head", corpus, steps=1, trainable="head*")
    assert "head: trains only head*" in str(trainer.plan())
    everything = make_trainer(corpus)
    everything.add_curriculum_stage("all", corpus, steps=1)
    assert trainer.preflight().slot_bytes < 0.6 * everything.preflight().slot_bytes
    with pytest.raises(ConfigError, match=r"the pattern 'haed/kernel' matches none .* 'head/kernel'"):
        trainer.add_curriculum_stage("wrong", corpus, trainable=["haed/kernel"])
    with pytest.raises(ConfigError, match="`trainable` must be a list of patterns"):
        trainer.add_curriculum_stage("wrong", corpus, trainable=[])
    trainer.train(checkpoint_dir=tmp_path / "c", **QUIET)
    other = make_trainer(corpus)
    other.add_curriculum_stage("head", corpus, steps=1, trainable="middle*")
    with pytest.raises(CheckpointError, match="trainable"):
        other.train(checkpoint_dir=tmp_path / "c", resume_from=True, **QUIET)
    again = hn.Trainer(
        tiny_model(), learning_rate=1e-2, batch_size=2, gradient_accumulation_steps=2, max_seq_length=16
    )
    again.preflight(resume_from=tmp_path / "c")
    assert again.stages[0].trainable == ["head*"] and isinstance(again.stages[0].objective, NextToken)


def test_a_plan_of_an_older_version_predicts_the_next_token_with_all_weights(corpus: str) -> None:
    trainer = make_trainer(corpus)
    trainer.add_curriculum_stage("all", corpus, steps=1)
    plan = trainer.plan()
    saved = plan.to_dict()
    for name in ("objective", "frozen_models", "trainable"):
        del saved["stages"][0][name]
    assert plan.changes(saved) == []
