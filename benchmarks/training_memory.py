"""The measured rise of memory in a training step compared with the estimate of `activation_memory`.

    python benchmarks/training_memory.py

Each case is a model of one pattern in processes of its own: after two steps, which compile, the heap is
given back, the process's peak is reset, and one more step is taken. The peaks of steps of few and of many
rows are measured; the difference between them, over the rows between them, is what a row's activations
cost. Peaks are compared and not rises, since a process may keep what its last step took.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from lib.peak_rise import peak

FEW_ROWS, MANY_ROWS = 4, 12
CASES = {
    "attention": {"block_pattern": "attention+mlp"},
    "attention_long": {"block_pattern": "attention+mlp", "max_seq_length": 2048},
    "attention_bfloat16": {"block_pattern": "attention+mlp", "dtype": "mixed_bfloat16"},
    "experts": {"block_pattern": "attention+moe"},
    "sliding_attention": {"block_pattern": "sliding_attention+mlp", "sliding_window": 64},
    "latent_attention": {"block_pattern": "latent_attention+mlp"},
    "mamba": {"block_pattern": "mamba"},
    "mamba2": {"block_pattern": "mamba2"},
    "gated_delta_rule": {"block_pattern": "gated_delta_rule"},
    "bdh": {"block_pattern": "bdh(multiplier=16)", "share_blocks": True},
    "bdh_nano": {
        "block_pattern": "bdh(multiplier=32)",
        "share_blocks": True,
        "embedding_dim": 128,
        "num_reasoning_blocks": 6,
        "max_seq_length": 256,
        "dropout": 0.1,
    },
    "hybrid": {"block_pattern": "mamba2+mlp, attention+moe"},
    "checkpointing": {"block_pattern": "attention+mlp"},
    "large_vocabulary": {"block_pattern": "attention+mlp", "vocab_size": 16384},
}
SHAPE = {
    "vocab_size": 1024,
    "embedding_dim": 256,
    "num_reasoning_blocks": 4,
    "max_seq_length": 512,
    "num_moe_experts": 4,
    "num_heads": 4,
}


def measure_here(name: str, rows: int) -> None:
    """Prints the peak of one step, and what was expected of gradients and activations."""
    import keras

    import highnoon as hn
    from highnoon.training.optimizers import make_optimizer
    from highnoon.training.preflight.activation_memory import activation_bytes
    from highnoon.training.steps.step import TrainStep

    model = hn.LanguageModel(**{**SHAPE, **CASES[name]})
    if name == "checkpointing":
        model.gradient_checkpointing_enable()
    schedule = keras.optimizers.schedules.PolynomialDecay(1e-3, 10)
    optimizer = make_optimizer(model, hn.TrainingConfig(), schedule)
    step = TrainStep(model, optimizer, micro_batch_size=rows)
    length = model.max_seq_length
    ids = np.random.default_rng(0).integers(0, model.vocab_size, (rows, length + 1)).astype("int32")
    batch = {
        "token_ids": ids[:, :-1],
        "labels": ids[:, 1:],
        "loss_weights": np.ones((rows, length), "float32"),
        "segment_ids": np.ones((rows, length), "int32"),
        "positions": np.tile(np.arange(length, dtype="int32"), (rows, 1)),
    }
    for _ in range(2):
        float(step(batch)["loss"])
    most = peak(lambda: float(step(batch)["loss"]))
    print(most, 4 * model.count_params(), activation_bytes(model, rows, length))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=CASES, action="append", help="of these alone; may be given again")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure_here(arguments.one[0], int(arguments.one[1]))
        return
    from lib.report import write_report

    figures: dict[str, float] = {}
    for name in arguments.case or CASES:
        few, many = (_in_a_process(name, rows) for rows in (FEW_ROWS, MANY_ROWS))
        measured = (many[0] - few[0]) / (MANY_ROWS - FEW_ROWS)
        expected = (many[2] - few[2]) / (MANY_ROWS - FEW_ROWS)
        figures[f"{name}_row_mebibytes"] = measured / 2**20
        figures[f"{name}_expected_over_measured"] = expected / measured
        figures[f"{name}_peak_mebibytes"] = many[0] / 2**20
        figures[f"{name}_parameter_mebibytes"] = many[1] / 2**20
    write_report("training_memory", figures)


def _in_a_process(name: str, rows: int) -> list[int]:
    command = [sys.executable, __file__, "--one", name, str(rows)]
    # Freed memory goes back at once: what stays with the process is then what is in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return [int(word) for word in printed.split()[-3:]]


if __name__ == "__main__":
    main()
