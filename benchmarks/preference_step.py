"""What a step of DPO costs, with a live reference and with one that was computed before.

    python benchmarks/preference_step.py
    python benchmarks/preference_step.py --width 512 --blocks 6 --length 512

Timed in turns on the same rows, medians over the rounds: an optimizer step with the reference as a copy, one
with its log-probabilities as a column, one in which the policy has factors of LoRA and a column or is its own
reference without them, a forward pass of the reference, and an optimizer step of the next token on as many
sequences, which is a forward and a backward pass. Processor time of all threads is counted, so that other
work on the machine does not enter; the ratios are what to read.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from lib.report import write_report

import highnoon as hn
from highnoon.alignment import DPO
from highnoon.alignment.answer_log_probs import token_log_probs_of
from highnoon.layers.graph_function import graph_function
from highnoon.training.objective import NextToken, Objective
from highnoon.training.optimizers import AdamW
from highnoon.training.steps.step import TrainStep

Batch = dict[str, np.ndarray]


def make_model(options: argparse.Namespace, lora: int = 0) -> hn.LanguageModel:
    keras.utils.set_random_seed(0)
    model = hn.LanguageModel(
        vocab_size=options.vocab_size,
        embedding_dim=options.width,
        num_reasoning_blocks=options.blocks,
        max_seq_length=options.length,
        block_pattern="transformer",
    )
    if lora:
        model.backbone.enable_lora(lora)
    return model


def make_pairs(rows: int, length: int, vocab_size: int) -> Batch:
    rng = np.random.default_rng(0)
    ids = rng.integers(7, vocab_size, (rows, 2, length + 1)).astype("int32")
    half = np.arange(length) >= length // 2
    return {
        "token_ids": ids[:, :, :-1],
        "labels": ids[:, :, 1:],
        "loss_weights": np.tile(half.astype("float32"), (rows, 2, 1)),
        "segment_ids": np.ones((rows, 2, length), "int32"),
        "positions": np.tile(np.arange(length, dtype="int32"), (rows, 2, 1)),
        "pair_values": np.zeros((rows, length), "float32"),
        "reference_log_probs": rng.uniform(-9, -6, (rows, 2, length)).astype("float32"),
    }


def step_of(model: hn.LanguageModel, objective: Objective, batch: Batch) -> Callable[[], object]:
    optimizer = AdamW(1e-5)
    optimizer.build(model.trainable_variables)
    columns = {name: batch[name] for name in objective.columns}
    step = TrainStep(model, optimizer, len(batch["token_ids"]), objective=objective)
    return lambda: float(step(columns)["loss"])


def medians(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Returns the median milliseconds of processor time of each action, all taken in turns."""
    found: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.process_time()
            action()
            found[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    batch = make_pairs(options.rows, options.length, options.vocab_size)
    flat = {name: array.reshape(-1, options.length) for name, array in batch.items() if array.ndim == 3}
    text = {**flat, "loss_weights": np.ones_like(flat["loss_weights"])}
    reference = make_model(options)
    forward = graph_function(lambda batch: token_log_probs_of(reference, batch, training=False).log_probs)
    inputs = {name: keras.ops.convert_to_tensor(flat[name]) for name in text}
    with reference.compiled_parts():
        forward.get_concrete_function(inputs)
    adapted, own = make_model(options, lora=8), make_model(options, lora=8)
    times = medians(
        {
            "copy": step_of(make_model(options), DPO(reference, reference_by="copy"), batch),
            "column": step_of(make_model(options), DPO(reference), batch),
            "lora_column": step_of(adapted, DPO(reference), batch),
            "lora_no_adapter": step_of(own, DPO(own, reference_by="no_adapter"), batch),
            "forward": lambda: np.asarray(forward(inputs)),
            "next_token": step_of(make_model(options), NextToken(), text),
        },
        options.rounds,
    )
    write_report(
        "preference_step",
        {
            **{f"{name}_ms": value for name, value in times.items()},
            "copy_over_passes": times["copy"] / (times["next_token"] + times["forward"]),
            "copy_over_column": times["copy"] / times["column"],
            "lora_no_adapter_over_column": times["lora_no_adapter"] / times["lora_column"],
        },
    )


if __name__ == "__main__":
    main()
