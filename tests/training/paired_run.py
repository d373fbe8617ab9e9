"""Trains in a folder each time that a line of standard input names one: `paired_run.py CORPUS`.

Prints `ready`, then for each folder `whole` or why the run was refused.
"""

import pathlib
import sys
import time

import keras

import highnoon as hn
from highnoon.files.folder_lock import FolderLockedError
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
}
NUM_STEPS = 6


def train(corpus: str, folder: pathlib.Path) -> str:
    keras.utils.set_random_seed(0)
    model = hn.create_model("highnoon-nano", **SHAPE)
    model.tokenizer = ByteTokenizer()
    trainer = hn.Trainer(model, batch_size=2, jit_compile=False)
    trainer.add_curriculum_stage("one", corpus, steps=NUM_STEPS)
    trainer.add_callback(lambda event: time.sleep(0.1 if event["event"] == "step_end" else 0))
    try:
        trainer.train(
            checkpoint_dir=folder,
            checkpoint_interval=2,
            log_dir=folder / "logs",
            verbose=False,
        )
        trainer.save(folder / "model")
    except FolderLockedError as error:
        return str(error)
    return "whole"


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        print(train(sys.argv[1], pathlib.Path(line.strip())), flush=True)


if __name__ == "__main__":
    main()
