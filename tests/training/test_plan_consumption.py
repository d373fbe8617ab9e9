"""What a run reads is what its plan says, and can be shown again afterwards."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.models.saving import save_model
from highnoon.training.curricula.complexity import complexity_scores
from highnoon.training.learner import Learner
from highnoon.training.objective import Objective
from highnoon.training.runs.replay import Replay

LOSSES = (5.0, 4.0, 3.99, 3.0, 2.99, 2.98, 2.97, 2.96)


class RecordedLearner(Learner):
    """A learner without a compiled step: keeps every batch, and reports a loss that falls by epochs."""

    batches: list[dict[str, np.ndarray]]
    epoch = 0

    def step(
        self, batch: dict[str, Any], objective: Objective, loss_weight: float = 1.0, measures: bool = False
    ) -> dict[str, Any]:
        self.batches.append({name: np.array(value) for name, value in batch.items()})
        loss, state = LOSSES[min(self.epoch, len(LOSSES) - 1)], self.state
        state.assign("loss_total", state["loss_total"] + 10.0 * loss)
        state.assign("token_total", state["token_total"] + 10.0)
        return {
            "loss": loss,
            "grad_norm": 1.0,
            "num_tokens": 10.0,
            "num_stops": 0.0,
            "is_skipped": False,
            "skipped_in_a_row": 0,
        }


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    class Recorded(RecordedLearner):
        batches: list[dict[str, np.ndarray]] = []

    def note_epoch(event: dict[str, Any]) -> None:
        if event["event"] in ("stage_begin", "epoch_end"):
            Recorded.epoch = event.get("epoch", 0)

    add = hn.Trainer.add_curriculum_stage

    def add_watched(self: hn.Trainer, *args: Any, **options: Any) -> hn.Trainer:
        if note_epoch not in self.callbacks:
            self.add_callback(note_epoch)
        return add(self, *args, **options)

    monkeypatch.setattr(hn.Trainer, "learner_class", Recorded)
    monkeypatch.setattr(hn.Trainer, "add_curriculum_stage", add_watched)
    return Recorded.batches


SCHEDULERS: dict[str, dict[str, Any]] = {
    "none": {},
    "size": {"strategy": "size_based", "num_stages": 3, "warmup_epochs": 1, "stage_increment_epochs": 2},
    "difficulty, root": {
        "strategy": "difficulty_based",
        "num_stages": 4,
        "warmup_epochs": 1,
        "stage_increment_epochs": 1,
        "pace": "root",
    },
    "mixed, by steps": {
        "strategy": "mixed",
        "num_stages": 4,
        "warmup_epochs": 3,
        "stage_increment_epochs": 4,
        "unit": "step",
    },
    "size, by tokens": {
        "strategy": "size_based",
        "num_stages": 3,
        "warmup_epochs": 500,
        "stage_increment_epochs": 700,
        "unit": "token",
        "pace": "step",
    },
    "reference": {"strategy": "reference_loss", "num_stages": 2, "warmup_epochs": 2},
    "adaptive": {"adaptive": True, "num_stages": 3, "min_epochs_per_stage": 1, "max_epochs_per_stage": 3},
}


def make_scheduler(name: str, model: keras.Model) -> Any:
    values = {"verbose": False, **SCHEDULERS[name]}
    if name == "none":
        return None
    if name == "reference":
        save_model(model, "reference")
        values["reference_model"] = "reference"
    kind = hn.AdaptiveCurriculumScheduler if values.pop("adaptive", False) else hn.CurriculumScheduler
    return kind(**values)


def consumed_documents(step: Any) -> set[int]:
    return {piece.document for row in step.rows for piece in row}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "reference" else name for name in SCHEDULERS],
)
def test_the_plan_is_what_is_consumed(
    name: str, make_model: Callable[..., keras.Model], corpus: str, batches: list[dict[str, np.ndarray]]
) -> None:
    model = make_model()
    scheduler = make_scheduler(name, model)
    trainer = hn.Trainer(model, batch_size=4, max_seq_length=32, validation_split=0.0)
    length = {"steps": 20} if scheduler is not None and scheduler.unit != "epoch" else {"epochs": 6}
    trainer.add_curriculum_stage("all", corpus, scheduler=scheduler, **length)
    plan, (data,) = trainer.plan(), trainer.stage_data()
    timeline = data.timeline(6)
    trainer.train(checkpoint_dir="checkpoints", log_dir=None, verbose=False)

    replay = Replay("checkpoints")
    assert replay.last_step == len(batches)
    shown = [replay.step(step) for step in range(1, len(batches) + 1)]
    for again, batch in zip(shown, batches, strict=True):
        for key, values in again.batch.items():
            np.testing.assert_array_equal(values, batch[key], err_msg=f"{key} of step {again.step}")
    if name == "adaptive":
        allowed = [span[3] for span in trainer.progress.spans]
        assert allowed == sorted(allowed) and allowed[0] < allowed[-1] == data.train_rows.num_documents
        assert len(batches) <= plan.total_steps
    else:
        assert len(batches) == plan.total_steps
        # A step's documents are those that the plan allows; an epoch that is not cut short reads them all.
        for planned in timeline:
            steps = shown[planned.first_step : planned.first_step + planned.num_steps]
            assert {step.epoch for step in steps} == {planned.epoch}
            read = set().union(*map(consumed_documents, steps))
            texts = data.train_rows.texts()
            order = np.arange(40) if scheduler is None else scheduler.prepare_curriculum(texts)
            easiest = set(order[: planned.num_documents].tolist())
            assert read <= easiest
            if planned.num_steps == data.steps_in(data.view(planned.epoch, planned.num_documents)):
                assert read == easiest


@pytest.mark.parametrize("strategy", ["size_based", "difficulty_based", "mixed"])
def test_early_stages_are_easier_by_the_schedulers_own_score(
    strategy: str, make_model: Callable[..., keras.Model], corpus: str, batches: list[dict[str, np.ndarray]]
) -> None:
    scheduler = hn.CurriculumScheduler(
        strategy, num_stages=3, warmup_epochs=1, stage_increment_epochs=1, initial_fraction=0.3, verbose=False
    )
    trainer = hn.Trainer(make_model(), batch_size=4, max_seq_length=32, validation_split=0.0)
    trainer.add_curriculum_stage("all", corpus, epochs=3, scheduler=scheduler)
    trainer.train(checkpoint_dir="checkpoints", log_dir=None, verbose=False)
    scores = complexity_scores(trainer.stage_data()[0].train_rows.texts(), strategy)
    replay = Replay("checkpoints")
    by_epoch: dict[int, set[int]] = {}
    for step in range(1, replay.last_step + 1):
        shown = replay.step(step)
        by_epoch.setdefault(shown.epoch, set()).update(consumed_documents(shown))
    added = [by_epoch[0], by_epoch[1] - by_epoch[0], by_epoch[2] - by_epoch[1]]
    assert all(added)
    hardest = [max(scores[list(documents)]) for documents in added]
    easiest = [min(scores[list(documents)]) for documents in added]
    assert hardest[0] <= easiest[1] and hardest[1] <= easiest[2]
    assert by_epoch[0] < by_epoch[1] < by_epoch[2]


def test_stages_keep_their_order(
    make_model: Callable[..., keras.Model],
    corpus: str,
    other_corpus: str,
    batches: list[dict[str, np.ndarray]],
) -> None:
    trainer = hn.Trainer(make_model(), batch_size=4, max_seq_length=32)
    trainer.add_curriculum_stage("first", corpus, epochs=1)
    trainer.add_curriculum_stage("second", other_corpus, epochs=1)
    trainer.train(checkpoint_dir="checkpoints", log_dir=None, verbose=False)
    replay = Replay("checkpoints")
    steps = [replay.step(step) for step in range(1, replay.last_step + 1)]
    assert [step.stage for step in steps] == sorted(step.stage for step in steps)
    names = {step.stage: {piece.dataset for row in step.rows for piece in row} for step in steps}
    assert names == {"first": {corpus}, "second": {other_corpus}}


def test_a_replayed_row_says_what_was_supervised(
    make_model: Callable[..., keras.Model], tmp_path: pathlib.Path, batches: list[dict[str, np.ndarray]]
) -> None:
    rows = [{"instruction": f"Say {number}.", "response": f"It is {number}!"} for number in range(12)]
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trainer = hn.Trainer(make_model(), batch_size=4, max_seq_length=32, validation_split=0.0)
    trainer.add_curriculum_stage("asked", str(path), epochs=1)
    trainer.train(checkpoint_dir="checkpoints", log_dir=None, verbose=False)
    replay = Replay("checkpoints")
    steps = [replay.step(step) for step in range(1, replay.last_step + 1)]
    pieces = [piece for step in steps for row in step.rows for piece in row]
    learned: dict[int, str] = {}
    for piece in sorted(pieces, key=lambda piece: piece.document):
        learned[piece.document] = learned.get(piece.document, "") + piece.learned
    assert all("It is" in text and "Say" not in text for text in learned.values())


def test_a_step_that_never_was_is_refused(
    make_model: Callable[..., keras.Model], corpus: str, batches: list[dict[str, np.ndarray]]
) -> None:
    trainer = hn.Trainer(make_model(), batch_size=4, max_seq_length=32)
    trainer.add_curriculum_stage("all", corpus, steps=3)
    trainer.train(checkpoint_dir="checkpoints", log_dir=None, verbose=False)
    with pytest.raises(ValueError, match="knows steps 1 to 3; received 4"):
        Replay("checkpoints").step(4)
    pathlib.Path(corpus).write_text('{"text": "other words"}\n' * 3)
    with pytest.raises(hn.training.CheckpointError, match="is not what the run"):
        Replay("checkpoints").step(1)


def test_a_stream_is_trained_on_and_shown_again(
    make_model: Callable[..., keras.Model], corpus: str, batches: list[dict[str, np.ndarray]]
) -> None:
    trainer = hn.Trainer(make_model(), batch_size=4, max_seq_length=32)
    trainer.add_curriculum_stage("all", {"name": corpus, "stream": True}, steps=60)
    assert trainer.plan().stages[0].steps == 60
    with pytest.warns(UserWarning, match="starts again in another order"):
        trainer.train(checkpoint_dir="checkpoints", log_dir=None, verbose=False)
        for step in (60, 3, 12):
            shown = Replay("checkpoints").step(step)
            np.testing.assert_array_equal(shown.batch["token_ids"], batches[step - 1]["token_ids"])
            assert shown.rows[0][0].dataset == corpus


def test_a_stream_that_became_another_is_not_resumed(
    make_model: Callable[..., keras.Model], corpus: str, batches: list[dict[str, np.ndarray]]
) -> None:
    def trained(steps: int, **arguments: Any) -> None:
        trainer = hn.Trainer(make_model(), batch_size=4, max_seq_length=32, validation_split=0.0)
        trainer.add_curriculum_stage("all", {"name": corpus, "stream": True, "skip_bad": True}, steps=steps)
        trainer.train(checkpoint_dir="checkpoints", log_dir=None, verbose=False, **arguments)

    trained(5)
    trained(8, resume_from=True, extend=True)
    assert len(batches) == 8
    with open(corpus, "a") as stream:
        stream.write("no row\n" + '{"text": "new words"}\n')
    with pytest.raises(hn.training.CheckpointError, match="data_key"):
        trained(9, resume_from=True, extend=True)
    with pytest.raises(hn.training.CheckpointError, match="is not what the run"):
        Replay("checkpoints").step(1)
    with pytest.warns(UserWarning, match="1 skipped: not JSON 1"):
        trained(40)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"epochs": 2}, "length in `steps=`"),
        ({"steps": 2, "scheduler": hn.CurriculumScheduler(unit="step", verbose=False)}, "no scheduler"),
    ],
)
def test_a_stream_that_cannot_be_counted_or_sorted_says_so(
    arguments: dict[str, Any], message: str, make_model: Callable[..., keras.Model], corpus: str
) -> None:
    trainer = hn.Trainer(make_model(), batch_size=4, max_seq_length=32)
    trainer.add_curriculum_stage("all", {"name": corpus, "stream": True}, **arguments)
    with pytest.raises(hn.config.ConfigError, match=message):
        trainer.plan()
