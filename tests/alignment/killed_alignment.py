"""A run of KTO that may be killed anywhere: `killed_alignment.py FOLDER`; started again, it resumes.

It prints `step N` after each step.
"""

import pathlib
import sys

import keras

import highnoon as hn
from highnoon.alignment import KTO
from highnoon.tokenization import ByteTokenizer

NUM_STEPS = 10
SHAPE = {
    "vocab_size": 263,
    "embedding_dim": 8,
    "num_heads": 1,
    "num_reasoning_blocks": 1,
    "max_seq_length": 96,
    "block_pattern": "attention+mlp",
    "ffn_dim": 8,
}


def report(event) -> None:
    if event["event"] == "step_end":
        print("step", event["step"], flush=True)


def train(folder: pathlib.Path) -> None:
    keras.utils.set_random_seed(0)
    policy = hn.LanguageModel(**SHAPE)
    policy.tokenizer = ByteTokenizer()
    answers = [
        {"prompt": f"{n}?", "completion": "yes" if n % 2 else "no", "label": n % 3 == 0} for n in range(40)
    ]
    start = folder.parent / "start"
    if not start.exists():
        hn.save_model(policy, start)
    trainer = hn.Trainer(
        policy,
        learning_rate=1e-2,
        batch_size=2,
        gradient_accumulation_steps=2,
        max_seq_length=96,
        jit_compile=False,
    )
    trainer.add_curriculum_stage("kto", answers, steps=NUM_STEPS, objective=KTO(str(start)))
    trainer.add_callback(report)
    trainer.train(
        resume_from=True,
        checkpoint_dir=folder / "checkpoints",
        checkpoint_interval=2,
        log_dir=None,
        verbose=False,
    )


if __name__ == "__main__":
    train(pathlib.Path(sys.argv[1]))
