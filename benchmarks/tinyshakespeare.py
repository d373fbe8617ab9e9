"""How far a model of at most a million parameters gets on Shakespeare's bytes in five minutes.

    python benchmarks/tinyshakespeare.py --data path/to/tinyshakespeare.txt

Prints the held-out loss in nats a byte. The clock starts with the first step, compilation included, and
counts evaluations during the run.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile
import time

import keras
from lib.report import write_report

import highnoon as hn
from highnoon.callbacks import EventCallback
from highnoon.tokenization import ByteTokenizer


class StopAfter(EventCallback):
    """Ends the run after a number of seconds, counted from its beginning."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.began = 0.0

    def on_event(self, event: dict) -> None:
        if event["event"] == "train_begin":
            self.began = time.perf_counter()
        elif event["event"] == "step_end" and time.perf_counter() - self.began > self.seconds:
            self.model.stop_training = True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("HIGHNOON_DATA")
    parser.add_argument("--data", default=data and f"{data}/plain/tinyshakespeare.txt", help="the text file")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=2400, help="length of the learning rate's cosine")
    arguments = parser.parse_args()
    if not arguments.data or not pathlib.Path(arguments.data).is_file():
        parser.error("give the text file with --data, or set HIGHNOON_DATA")

    keras.utils.set_random_seed(0)
    model = hn.create_model(
        hn.ModelConfig(
            vocab_size=263,
            embedding_dim=128,
            num_reasoning_blocks=4,
            max_seq_length=128,
            num_heads=4,
            ffn_dim=352,
            block_pattern="attention+mlp",
            dropout=0.1,
        )
    )
    model.tokenizer = ByteTokenizer()
    trainer = hn.Trainer(
        model,
        learning_rate=3e-3,
        batch_size=16,
        max_seq_length=128,
        warmup_steps=100,
        weight_decay=0.1,
        adam_beta2=0.99,
        early_stopping_patience=None,
    )
    trainer.add_curriculum_stage("shakespeare", arguments.data, steps=arguments.steps)
    clock = StopAfter(60 * arguments.minutes)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        summary = trainer.train(callbacks=[clock], checkpoint_dir=folder, log_dir=None, log_interval=200)
        seconds = time.perf_counter() - began
    figures = trainer.evaluate()
    tokens = trainer.progress.tokens_seen
    write_report(
        "tinyshakespeare",
        {
            "parameters": model.count_params(),
            "steps": summary["total_steps"],
            "minutes": seconds / 60,
            "tokens_per_second": tokens / seconds,
            "train_loss": summary["stages_completed"][0]["final_loss"],
            "held_out_nats_per_byte": figures["bits_per_byte"] * 0.6931471805599453,
            "held_out_bits_per_byte": figures["bits_per_byte"],
        },
    )


if __name__ == "__main__":
    main()
