"""Every call of the training guide works as it is written there, on small data."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import highnoon as hn
from highnoon.config import (
    EARLY_STOPPING_MIN_DELTA,
    EARLY_STOPPING_PATIENCE,
    Config,
    ModelConfig,
    TrainingConfig,
)
from highnoon.data import TextDataset
from highnoon.tokenization import ByteTokenizer

NAMES = ("pile_subset", "the_stack_v2", "open_assistant", "pile", "the_stack", "oasst", "toolbench")
SMALL = {"vocab_size": 300, "embedding_dim": 32, "num_reasoning_blocks": 1, "max_seq_length": 64}


@pytest.fixture(autouse=True)
def _local_copies_of_the_named_datasets(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    for name in NAMES:
        words = rng.choice(["if", "noon", "then", "sun", "else", "shade"], size=(30, 12))
        lines = [json.dumps({"text": f"{name} {index}: {' '.join(row)}"}) for index, row in enumerate(words)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    monkeypatch.setenv("HIGHNOON_DATA", str(tmp_path))
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_datasets_from_files_and_hub(tmp_path):
    (tmp_path / "data").mkdir()
    for index in range(3):
        (tmp_path / "data" / f"{index}.txt").write_text(f"sample {index}: " + "larger context is better " * 5)
    dataset = TextDataset.from_files(paths=["data/*.txt"], tokenizer=ByteTokenizer(), max_length=2048)
    assert dataset.max_length == 2048 and len(dataset) >= 1
    hn.Trainer(hn.create_model("highnoon-nano", **SMALL)).add_curriculum_stage("own", dataset, steps=1).train(
        save_checkpoints=False, log_dir=None, verbose=False
    )


def test_custom_configuration_reaches_model_and_trainer():
    config = Config(
        model=ModelConfig(
            vocab_size=500, embedding_dim=64, num_reasoning_blocks=2, max_seq_length=128, num_moe_experts=4
        ),
        training=TrainingConfig(learning_rate=1e-4, batch_size=8, warmup_steps=1000, gradient_clip=1.0),
    )
    model = hn.create_model(config)
    assert (model.vocab_size, model.embedding_dim, model.num_blocks, model.max_seq_length) == (
        500,
        64,
        2,
        128,
    )
    assert f"{model.count_params():,}".replace(",", "").isdigit()
    trainer = hn.Trainer(
        model,
        learning_rate=config.training.learning_rate,
        batch_size=config.training.batch_size,
        gradient_accumulation_steps=4,
    )
    assert trainer.rows_per_step == 32
    assert (trainer.config.warmup_steps, trainer.config.gradient_clip) == (1000, 1.0)


def test_the_whole_workflow_from_stages_to_inference(tmp_path, capsys):
    def build() -> hn.Trainer:
        model = hn.create_model("highnoon-nano", **SMALL)
        trainer = hn.Trainer(
            model, learning_rate=1e-4, batch_size=8, max_seq_length=2048, gradient_accumulation_steps=4
        )
        trainer.add_curriculum_stage("foundation", datasets=["pile_subset"], epochs=2)
        trainer.add_curriculum_stage("code", datasets=["the_stack_v2"], epochs=1)
        trainer.add_curriculum_stage("instruction", datasets=["open_assistant"], epochs=1, weight=2.0)
        return trainer

    lines = []

    def training_monitor(event):
        event_type = event.get("event")
        if event_type == "epoch_end":
            lines.append(f"[{event['stage']}] Epoch {event['epoch']}: loss={event['loss']:.4f}")
        elif event_type == "stage_complete":
            lines.append(f"{event['stage']} {event['metrics']['final_loss']:.4f}")
        elif event_type == "checkpoint_saved":
            lines.append(str(pathlib.Path(event["path"]).is_dir()))

    trainer = build()
    trainer.add_callback(training_monitor)
    trainer.add_callback(tf.keras.callbacks.TensorBoard(log_dir="./logs/training"))
    summary = trainer.train(
        epochs_per_stage=5,
        save_checkpoints=True,
        checkpoint_dir="./checkpoints",
        checkpoint_interval=1000,
        log_interval=100,
        eval_interval=500,
    )
    assert "foundation" in capsys.readouterr().out
    assert lines[0].startswith("[foundation] Epoch 1: loss=") and "True" in lines
    assert summary["total_steps"] >= 4
    for stage in summary["stages_completed"]:
        assert f"{stage['name']}: {stage['epochs']} epochs, final_loss={stage['final_loss']:.4f}"
    assert [stage["epochs"] for stage in summary["stages_completed"]] == [2, 1, 1]

    resumed = build().train(resume_from="./checkpoints/latest", checkpoint_dir="./checkpoints")
    assert resumed == summary

    trainer.save("./final_model")
    trainer.model.save_weights("./final_model/weights")
    other = hn.create_model("highnoon-nano", **SMALL)
    loaded = hn.Trainer.load("./final_model", other)
    assert loaded.model is other
    third = hn.create_model("highnoon-nano", **SMALL)
    third.load_weights("./final_model/weights")
    token_ids = np.array([[2, 70, 71, 72]])
    expected = np.asarray(trainer.model(token_ids, training=False))
    for model in (other, third, hn.load_model("./final_model")):
        np.testing.assert_allclose(np.asarray(model(token_ids, training=False)), expected, atol=1e-6)


def test_other_spellings_of_the_named_datasets_resolve():
    trainer = hn.Trainer(hn.create_model("highnoon-nano", **SMALL))
    for stage, name in {"foundation": "pile", "code": "the_stack", "instruction": "oasst"}.items():
        trainer.add_curriculum_stage(stage, datasets=[name], epochs=1)
    assert [stage.datasets for stage in trainer.plan().stages] == [["pile"], ["the_stack"], ["oasst"]]


def test_early_stopping_constants_are_the_defaults():
    assert (EARLY_STOPPING_PATIENCE, EARLY_STOPPING_MIN_DELTA) == (10, 0.001)
    defaults = TrainingConfig()
    assert defaults.early_stopping_patience == EARLY_STOPPING_PATIENCE
    assert defaults.early_stopping_min_delta == EARLY_STOPPING_MIN_DELTA
