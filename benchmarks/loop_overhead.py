"""What the training loop costs on top of the compiled step.

    python benchmarks/loop_overhead.py

`Trainer.train` runs with its default callbacks and log files. After each of its steps a callback takes the
bare compiled step once more, on rows read beforehand, so that the two times of a pair lie side by side and a
machine that slows down slows both. Medians of the pairs' differences, apart for plain steps, for steps at
log points (which measure all weights) and for those after one (which wait for what it writes); the overhead
is their mean at the default of a log point in 100 steps, and at one in 10.

Last, a very short step is taken alone and 20 in a call (`steps_per_execution`), in turns: medians of whole
runs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from typing import Any

import keras
from lib.report import write_report

import highnoon as hn
from highnoon.callbacks import EventCallback
from highnoon.training.learner import Learner

DEFAULT_LOG_INTERVAL = 100
LOG_INTERVAL = 10
WARM_UP_STEPS = 2 * LOG_INTERVAL

STEPS_PER_EXECUTION = 20
ROUNDS = 5

# Of about 5, 25 and 500 ms on two cores.
VERY_SHORT_STEP: Any = (
    {
        "block_pattern": "attention+mlp",
        "num_reasoning_blocks": 1,
        "vocab_size": 512,
        "embedding_dim": 64,
        "num_heads": 2,
    },
    {"batch_size": 1, "max_seq_length": 32},
)
SHORT_STEP: Any = (
    {"block_pattern": "attention+mlp", "num_reasoning_blocks": 1, "vocab_size": 2048},
    {"batch_size": 4, "max_seq_length": 64},
)
LONG_STEP: Any = {}, {"batch_size": 8, "max_seq_length": 256}


class KeepsBatch(Learner):
    """A learner that keeps the last batch, so that the bare step can be taken once more."""

    made: list[KeepsBatch] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.last: tuple[Any, Any] | None = None
        self.made.append(self)

    def step(self, batch: Any, objective: Any, *args: Any, **kwargs: Any) -> Any:
        self.last = (batch, objective)
        return super().step(batch, objective, *args, **kwargs)


class Pairs(EventCallback):
    """Times each step of the loop and, after it, the bare step."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: dict[str, list[tuple[float, float]]] = {"plain": [], "log": [], "after": []}
        self._batch: Any = None
        self._since = 0.0

    def on_event(self, event: dict) -> None:
        if event["event"] != "step_end":
            return
        in_loop = time.perf_counter() - self._since
        learner = KeepsBatch.made[-1]
        if self._batch is None:
            self._batch = learner.last
        began = time.perf_counter()
        float(learner.step(*self._batch)["loss"])
        alone = time.perf_counter() - began
        if event["step"] > WARM_UP_STEPS:
            kind = {0: "log", 1: "after"}.get(event["step"] % LOG_INTERVAL, "plain")
            self.pairs[kind].append((in_loop, alone))
        self._since = time.perf_counter()


def measure(model: dict[str, Any], rows: dict[str, int], steps: int) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    trainer = hn.Trainer(hn.create_model("highnoon-tiny", **model), **rows)
    trainer.learner_class = KeepsBatch
    trainer.add_curriculum_stage("all", "stdlib:docs", steps=steps + WARM_UP_STEPS)
    watcher = Pairs()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer.train(
            callbacks=[watcher],
            log_dir=folder,
            log_interval=LOG_INTERVAL,
            save_checkpoints=False,
            eval_interval=10**9,
        )
    more = {kind: statistics.median(a - b for a, b in pairs) for kind, pairs in watcher.pairs.items()}
    step = statistics.median(b for pairs in watcher.pairs.values() for _, b in pairs)
    figures = {"step_ms": 1e3 * step} | {f"{kind}_ms": 1e3 * value for kind, value in more.items()}
    for interval in (DEFAULT_LOG_INTERVAL, LOG_INTERVAL):
        mean = more["plain"] + (more["log"] + more["after"] - 2 * more["plain"]) / interval
        figures[f"overhead_percent_log_{interval}"] = 100 * mean / step
    return figures


def measure_calls(model: dict[str, Any], rows: dict[str, int], steps: int) -> dict[str, float]:
    seconds: dict[int, list[float]] = {1: [], STEPS_PER_EXECUTION: []}
    for _ in range(ROUNDS):
        for in_a_call, so_far in seconds.items():
            keras.utils.set_random_seed(0)
            network = hn.create_model("highnoon-tiny", **model)
            trainer = hn.Trainer(network, steps_per_execution=in_a_call, **rows)
            trainer.add_curriculum_stage("all", "stdlib:docs", steps=2 * steps)
            ends: dict[int, float] = {}
            trainer.add_callback(
                lambda event, ends=ends: ends.setdefault(event.get("step", 0), time.perf_counter())
            )
            with contextlib.redirect_stdout(io.StringIO()):
                trainer.train(log_dir=None, save_checkpoints=False, eval_interval=10**9, log_interval=steps)
            so_far.append((ends[2 * steps] - ends[steps]) / steps)
    alone, together = (statistics.median(values) for values in seconds.values())
    return {"step_ms": 1e3 * alone, f"of_{STEPS_PER_EXECUTION}_ms": 1e3 * together, "ratio": alone / together}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short-steps", type=int, default=400)
    parser.add_argument("--long-steps", type=int, default=100)
    arguments = parser.parse_args()
    figures = {}
    for name, size, steps in (
        ("short", SHORT_STEP, arguments.short_steps),
        ("long", LONG_STEP, arguments.long_steps),
    ):
        figures |= {f"{name}_{key}": value for key, value in measure(*size, steps).items()}
    calls = measure_calls(*VERY_SHORT_STEP, arguments.short_steps)
    figures |= {f"very_short_{key}": value for key, value in calls.items()}
    write_report("loop_overhead", figures)


if __name__ == "__main__":
    main()
