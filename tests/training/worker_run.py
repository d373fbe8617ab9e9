"""One worker of a small run: `highnoon launch --workers N -- worker_run.py CORPUS FOLDER STEPS`."""

import os
import pathlib
import sys
import time

import keras

import highnoon as hn
from highnoon.tokenization import ByteTokenizer
from highnoon.training.distributed import resolve_strategy

SHAPE = {
    "vocab_size": 263,
    "embedding_dim": 16,
    "num_heads": 2,
    "num_reasoning_blocks": 1,
    "max_seq_length": 32,
    "block_pattern": "attention+mlp",
    "ffn_dim": 32,
    "dropout": 0.1,
}


def main() -> None:
    corpus, folder, steps = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    seconds = float(os.environ.get("SECONDS_A_STEP", "0"))
    strategy = resolve_strategy("auto")
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = hn.create_model("highnoon-nano", **SHAPE)
    model.tokenizer = ByteTokenizer()
    trainer = hn.Trainer(
        model,
        learning_rate=3e-3,
        batch_size=2,
        global_batch_size=8,
        strategy=strategy,
        ema_momentum=0.9,
        jit_compile=False,
        steps_per_execution=int(os.environ.get("STEPS_A_CALL", "1")),
    )
    trainer.add_curriculum_stage("only", corpus, steps=steps)

    def pace(event):
        if event["event"] == "step_end":
            print("step", event["step"], flush=True)
            time.sleep(seconds)

    trainer.add_callback(pace)
    trainer.train(
        resume_from=True,
        checkpoint_dir=folder / "checkpoints",
        checkpoint_interval=3,
        log_interval=2,
        eval_interval=4,
        log_dir=folder / "logs",
        verbose=False,
    )


if __name__ == "__main__":
    main()
