"""A run of three stages that may be killed anywhere: `killed_run.py CORPUS OTHER_CORPUS FOLDER`.

Started again by the same command it resumes. Files in FOLDER/marks say what it is doing: `step_N` after a
step, `validating` while it validates.
"""

import pathlib
import sys
import time

import keras

import highnoon as hn
from highnoon.callbacks import EventCallback
from highnoon.tokenization import ByteTokenizer

SHAPE = {
    "vocab_size": 263,
    "embedding_dim": 16,
    "num_heads": 2,
    "num_reasoning_blocks": 1,
    "max_seq_length": 32,
    "block_pattern": "attention+moe",
    "num_moe_experts": 2,
    "expert_dim": 16,
    "router_type": "sigmoid",
    "dropout": 0.1,
}


class Marks(EventCallback):
    """Leaves marks, and gives whoever watches them a little time."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def on_event(self, event) -> None:
        if event["event"] == "step_end":
            (self._folder / f"step_{event['step']}").touch()
            time.sleep(0.03)

    def on_test_begin(self, logs=None) -> None:
        (self._folder / "validating").touch()
        time.sleep(0.05)

    def on_test_end(self, logs=None) -> None:
        (self._folder / "validating").unlink(missing_ok=True)


def main() -> None:
    corpus, other_corpus, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    keras.utils.set_random_seed(0)
    model = hn.create_model("highnoon-nano", **SHAPE)
    model.tokenizer = ByteTokenizer()
    trainer = hn.Trainer(
        model,
        learning_rate=3e-3,
        batch_size=2,
        gradient_accumulation_steps=2,
        ema_momentum=0.9,
        early_stopping_patience=2,
        jit_compile=False,
    )
    adaptive = hn.AdaptiveCurriculumScheduler(
        min_epochs_per_stage=1,
        max_epochs_per_stage=2,
        num_stages=2,
        warmup_epochs=0,
        initial_fraction=0.5,
        verbose=False,
    )
    trainer.add_curriculum_stage("easy", corpus, epochs=3, scheduler=adaptive)
    trainer.add_curriculum_stage("mixed", [corpus, other_corpus], steps=10, learning_rate=1e-3)
    trainer.add_curriculum_stage(
        "stuck", other_corpus, epochs=6, learning_rate=1e-6, early_stopping_min_delta=5.0
    )
    trainer.add_callback(Marks(folder / "marks"))
    trainer.train(
        resume_from=True,
        checkpoint_dir=folder / "checkpoints",
        checkpoint_interval=4,
        log_interval=2,
        eval_interval=5,
        log_dir=folder / "logs",
        verbose=False,
    )


if __name__ == "__main__":
    main()
