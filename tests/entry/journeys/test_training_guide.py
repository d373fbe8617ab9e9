"""The training guide as a user would type it: `load_dataset`, a configuration, stages, a callback."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import highnoon as hn
from datasets import load_dataset
from highnoon.config import Config, ModelConfig, TrainingConfig


def main():
    dataset = load_dataset("json", data_files="samples.jsonl")
    tales = load_dataset("text", data_files="tales.txt", split="train")

    config = Config(
        model=ModelConfig(
            vocab_size=300, embedding_dim=32, num_reasoning_blocks=1, max_seq_length=64
        ),
        training=TrainingConfig(learning_rate=1e-3, batch_size=8, warmup_steps=2),
    )

    print("Creating model...")
    model = hn.create_model(config)
    print(f"Parameters: {model.count_params():,}")

    trainer = hn.Trainer(
        model,
        learning_rate=config.training.learning_rate,
        batch_size=config.training.batch_size,
        gradient_accumulation_steps=2,
    )

    trainer.add_curriculum_stage("foundation", datasets=[dataset], epochs=2)
    trainer.add_curriculum_stage("tales", datasets=tales, epochs=1)
    trainer.add_curriculum_stage("instruction", datasets=["oasst"], epochs=1, weight=2.0)

    def monitor(event):
        if event["event"] == "epoch_end":
            print(f"[{event['stage']}] Epoch {event['epoch']}: loss={event['loss']:.4f}")

    trainer.add_callback(monitor)

    print("Starting training...")
    summary = trainer.train(checkpoint_dir="./checkpoints", checkpoint_interval=500)

    print("Saving model...")
    trainer.save("./trained_model")
    print(f"Training complete! Total steps: {summary['total_steps']}")

    again = hn.Trainer.load("./trained_model", hn.create_model(config))
    print("Loaded:", [stage.name for stage in again.stages])


if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_the_complete_script_runs_as_written(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("datasets")
    rng = np.random.default_rng(3)
    words = rng.choice(["if", "noon", "then", "sun", "else", "shade"], size=(60, 12))
    lines = [f"{index}: {' '.join(row)}" for index, row in enumerate(words)]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    (tmp_path / "tales.txt").write_text("".join(f"Tale {line}\n" for line in lines))
    turns = [{"role": "user", "content": "Sun?"}, {"role": "assistant", "content": "Noon."}]
    (tmp_path / "oasst.jsonl").write_text(
        "".join(
            json.dumps({"messages": [{**turns[0], "content": f"Sun {number}?"}, turns[1]]}) + "\n"
            for number in range(30)
        )
    )
    (tmp_path / "train.py").write_text(SCRIPT)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(pathlib.Path(__file__).parents[3]),
        "HIGHNOON_DATA": str(tmp_path),
        "HIGHNOON_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"),
        "HOME": str(tmp_path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for line in ("Parameters: ", "[foundation] Epoch 2: loss=", "[tales] Epoch 1", "[instruction] Epoch 1"):
        assert line in done.stdout
    assert "Training complete! Total steps: " in done.stdout
    assert "Loaded: ['foundation', 'tales', 'instruction']" in done.stdout
    state = json.loads((tmp_path / "trained_model" / "state.json").read_text())
    assert state["stages"][0]["datasets"] == [{"in_memory": "json:train"}]
