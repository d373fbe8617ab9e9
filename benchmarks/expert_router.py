"""What training a router over frozen experts costs, compared with a forward pass of the experts.

    python benchmarks/expert_router.py

The experts are a transformer, a Mamba-2 and a gated-delta-rule model with random weights and bytes as tokens,
of about 10 million parameters each and of nano size; the router of nano experts is half as wide. Timed in
turns on the same rows, medians over the rounds: an optimizer step of the router, which reads the experts'
log-probabilities as a column, and the forward pass of all experts that gives one log-probability a token,
which a step would need without the column. The column itself is computed once over a text, compilation and
writing counted, and is given apart. On the same text the router is then trained by the Trainer: the median
time from step to step, rows, columns and events included.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from lib.report import write_report

import highnoon as hn
from highnoon.callbacks import EventCallback
from highnoon.data import Files, StackedColumns, TokenStore, derive_columns, tokenize
from highnoon.experts import ExpertRouter, MixtureObjective, expert_kind
from highnoon.experts.expert_columns import LOG_PROBS, expert_derivation
from highnoon.layers.graph_function import graph_function
from highnoon.tokenization import ByteTokenizer
from highnoon.training.frozen_model import FrozenModel
from highnoon.training.optimizers import AdamW
from highnoon.training.steps.step import TrainStep

PATTERNS = ("attention+mlp", "mamba2", "gated_delta_rule+mlp")
VOCAB_SIZE = ByteTokenizer().vocab_size
TRAINER_STEPS = 40


class Size(NamedTuple):
    """Width and blocks of the experts, the width of their router, and how long the text is."""

    width: int
    blocks: int
    router_width: int
    column_tokens: int


SIZES = {"ten_million": Size(320, 8, 64, 20_000), "nano": Size(128, 2, 32, 60_000)}

Batch = dict[str, np.ndarray]


def make_experts(width: int, blocks: int, length: int) -> list[hn.LanguageModel]:
    experts = []
    for seed, pattern in enumerate(PATTERNS):
        keras.utils.set_random_seed(seed)
        model = hn.LanguageModel(
            vocab_size=VOCAB_SIZE,
            embedding_dim=width,
            num_reasoning_blocks=blocks,
            max_seq_length=length,
            block_pattern=pattern,
        )
        model.tokenizer = ByteTokenizer()
        experts.append(model)
    return experts


def make_batch(rows: int, length: int) -> Batch:
    rng = np.random.default_rng(0)
    ids = rng.integers(7, VOCAB_SIZE, (rows, length + 1)).astype("int32")
    return {
        "token_ids": ids[:, :-1],
        "labels": ids[:, 1:],
        "loss_weights": np.ones((rows, length), "float32"),
        "segment_ids": np.ones((rows, length), "int32"),
        "positions": np.tile(np.arange(length, dtype="int32"), (rows, 1)),
    }


def forward_of(experts: list[hn.LanguageModel], batch: Batch) -> Callable[[], object]:
    """Returns what computes every expert's log-probability of each label."""
    functions = [
        graph_function(lambda rows, expert=expert: expert_kind(expert).token_log_probs(expert, rows))
        for expert in experts
    ]
    return lambda: [np.asarray(function(batch)) for function in functions]


def step_of(router: ExpertRouter, experts: list[hn.LanguageModel], batch: Batch) -> Callable[[], object]:
    """Returns an optimizer step of the router on rows with the column."""
    optimizer = AdamW(1e-3)
    optimizer.build(router.trainable_variables)
    objective = MixtureObjective(experts)
    step = TrainStep(router, optimizer, micro_batch_size=len(batch["labels"]), objective=objective)
    log_probs = np.stack([np.asarray(expert_kind(e).token_log_probs(e, batch)) for e in experts], axis=-1)
    rows = {**batch, "expert_log_probs": log_probs}
    return lambda: float(step(rows)["loss"])


def seconds_of(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def write_text(folder: pathlib.Path, num_tokens: int) -> TokenStore:
    rng = np.random.default_rng(1)
    words = [
        "".join(chr(97 + letter) for letter in rng.integers(0, 26, rng.integers(2, 9))) for _ in range(500)
    ]
    line = " ".join(rng.choice(words, size=80))
    count = max(1, num_tokens // (len(line) + 2))
    (folder / "text.txt").write_text("\n".join(" ".join(rng.choice(words, size=80)) for _ in range(count)))
    return tokenize(Files(folder / "text.txt", split="line"), ByteTokenizer(), folder)


class Intervals(EventCallback):
    """Keeps the seconds from each step to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._since: float | None = None

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "step_end":
            now = time.perf_counter()
            if self._since is not None:
                self.seconds.append(now - self._since)
            self._since = now


def trainer_step_seconds(
    router: ExpertRouter, experts: list[hn.LanguageModel], folder: str, rows: int, length: int
) -> float:
    """Returns the median time of a step of the Trainer, whose column is already in the folder."""
    options = {"batch_size": rows, "max_seq_length": length, "learning_rate": 1e-3, "cache_dir": folder}
    trainer = hn.Trainer(router, objective=MixtureObjective(experts), **options)
    text = Files(pathlib.Path(folder, "text.txt"), split="line")
    trainer.add_curriculum_stage("text", text, steps=TRAINER_STEPS)
    watcher = Intervals()
    trainer.train(callbacks=[watcher], save_checkpoints=False, log_dir=None, verbose=False)
    return statistics.median(watcher.seconds)


def text_figures(
    router: ExpertRouter, experts: list[hn.LanguageModel], num_tokens: int, rows: int, length: int
) -> dict[str, float]:
    """Returns what the column of all experts and training on it cost; reading it again computes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        store = write_text(pathlib.Path(folder), num_tokens)

        def compute() -> None:
            parts = [derive_columns(store, expert_derivation(FrozenModel(e), length)) for e in experts]
            StackedColumns("expert_log_probs", LOG_PROBS, parts)

        seconds, again = seconds_of(compute), seconds_of(compute)
        step = trainer_step_seconds(router, experts, folder, rows, length)
    tokens = int(store.offsets[-1])
    return {
        "column_tokens": tokens,
        "column_seconds": seconds,
        "column_microseconds_per_token": 1e6 * seconds / tokens,
        "column_bytes_per_token": 4 * len(experts),
        "column_again_seconds": again,
        "trainer_step_microseconds_per_token": 1e6 * step / (rows * length),
    }


def measure(size: Size, rows: int, length: int, rounds: int) -> dict[str, float]:
    """Returns the figures of experts and a router of one size."""
    experts = make_experts(size.width, size.blocks, length)
    router = ExpertRouter.for_experts(experts, embedding_dim=size.router_width)
    batch = make_batch(rows, length)
    runs = {"router_step": step_of(router, experts, batch), "experts_forward": forward_of(experts, batch)}
    figures = {f"{name}_first_seconds": seconds_of(run) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds_of(run))
    per_token = "microseconds_per_token"
    for name, seconds in taken.items():
        figures[f"{name}_{per_token}"] = 1e6 * statistics.median(seconds) / (rows * length)
    total, own = sum(expert.count_params() for expert in experts), router.count_params()
    figures |= {"parameters_of_experts": total, "parameters_of_router": own}
    figures["experts_over_router_parameters"] = total / own
    figures |= text_figures(router, experts, size.column_tokens, rows, length)
    forward = figures[f"experts_forward_{per_token}"]
    for step in ("router_step", "trainer_step"):
        figures[f"experts_forward_over_{step}"] = forward / figures[f"{step}_{per_token}"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", action="append", choices=SIZES, help="this alone; may be given again")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=256, help="tokens in a row")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    figures: dict[str, float] = {"rounds": arguments.rounds}
    for name in arguments.size or SIZES:
        of_size = measure(SIZES[name], arguments.rows, arguments.length, arguments.rounds)
        figures |= {f"{name}_{figure}": value for figure, value in of_size.items()}
        keras.backend.clear_session()
    write_report("expert_router", figures)


if __name__ == "__main__":
    main()
