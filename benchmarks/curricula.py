"""What curricula change: the same small model on the same text, in six orders.

    python benchmarks/curricula.py --data DIR

`DIR` holds `domains/` (a folder of domains) and, if wanted, `tasks/`. Every run has as many steps and
tokens, the same learning rate and schedule, and is measured on the same held-out documents. The reference
model, whose loss is one of the orders, is the same model trained for a tenth of the steps; its steps are not
counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any

import keras
from lib.report import write_report

import highnoon as hn
from highnoon.data import DomainFolder, open_source, train_tokenizer
from highnoon.models.saving import save_model
from highnoon.tokenization import Tokenizer

ROWS = {"batch_size": 16, "max_seq_length": 128, "learning_rate": 3e-3, "warmup_steps": 20}
MODEL = {
    "block_pattern": "attention+mlp",
    "num_reasoning_blocks": 2,
    "embedding_dim": 64,
    "num_heads": 2,
    "max_seq_length": 128,
}
ORDERS = ("none", "size", "difficulty", "mixed", "reference loss", "adaptive")


def datasets(data: pathlib.Path) -> list[Any]:
    found: list[Any] = [str(data / "domains")]
    for folder in sorted((data / "tasks").glob("*")) if (data / "tasks").is_dir() else []:
        with contextlib.suppress(hn.data.DataError):  # rows that need a template are left out
            source = open_source(f"{folder}/*.jsonl")
            next(source.documents())
            found.append(f"{folder}/*.jsonl")
    return found


def scheduler(order: str, steps: int, reference: str) -> Any:
    """A fifth of the documents at first, all of them after four sixths of the steps."""
    if order == "none":
        return None
    common = {"num_stages": 5, "unit": "step", "initial_fraction": 0.2, "verbose": False}
    if order == "adaptive":
        return hn.AdaptiveCurriculumScheduler(
            strategy="difficulty_based",
            min_epochs_per_stage=steps // 24,
            max_epochs_per_stage=steps // 3,
            **common,
        )
    strategy = {"reference loss": "reference_loss", "mixed": "mixed"}.get(order, f"{order}_based")
    return hn.CurriculumScheduler(
        strategy,
        warmup_epochs=steps // 6,
        stage_increment_epochs=steps // 6,
        **common,
        reference_model=reference if order == "reference loss" else None,
    )


def train(
    found: list[Any], tokenizer: Tokenizer, steps: int, seed: int, order: Any
) -> tuple[hn.Trainer, float]:
    keras.utils.set_random_seed(seed)
    model = hn.create_model("highnoon-nano", vocab_size=tokenizer.vocab_size, **MODEL)
    trainer = hn.Trainer(model, tokenizer=tokenizer, seed=seed, **ROWS)
    trainer.add_curriculum_stage("all", found, steps=steps, scheduler=order)
    # Only an adaptive pace looks at the held-out loss while it trains.
    interval = max(1, steps // 24) if hasattr(order, "update_with_loss") else 10**9
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train(log_dir=None, save_checkpoints=False, verbose=False, eval_interval=interval)
    return trainer, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("HIGHNOON_DATA")
    parser.add_argument("--data", type=pathlib.Path, default=default and pathlib.Path(default))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=1024)
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=ORDERS)
    arguments = parser.parse_args()
    if not arguments.data or not (arguments.data / "domains").is_dir():
        parser.error("give a folder that holds `domains/` with --data, or set HIGHNOON_DATA")
    found = datasets(arguments.data)
    tokenizer = train_tokenizer([open_source(name) for name in found], arguments.vocab_size)
    figures: dict[str, Any] = {
        "steps": arguments.steps,
        "tokens": arguments.steps * 16 * 128,
        "domains": len(DomainFolder(arguments.data / "domains").domains),
        "tasks": len(found) - 1,
    }
    with tempfile.TemporaryDirectory() as folder:
        small, _ = train(found, tokenizer, arguments.steps // 10, 1000, None)
        save_model(small.model, f"{folder}/reference")
        for order in arguments.orders:
            measured = []
            for seed in range(arguments.seeds):
                trainer, seconds = train(
                    found,
                    tokenizer,
                    arguments.steps,
                    seed,
                    scheduler(order, arguments.steps, f"{folder}/reference"),
                )
                measured.append(trainer.evaluate()["bits_per_byte"])
                print(f"{order}, seed {seed}: {measured[-1]:.4f} bits a byte in {seconds:.0f} s", flush=True)
            figures[f"{order}: bits a byte"] = statistics.mean(measured)
            figures[f"{order}: spread"] = max(measured) - min(measured)
    write_report("curricula", figures)


if __name__ == "__main__":
    main()
