"""What the training loop costs beside the compiled step.

    python benchmarks/loop_overhead.py

`Trainer.train` runs with its default callbacks and log files. After each of its steps a callback takes the
bare compiled step once more, on rows read beforehand, so that the two times of a pair lie side by side and a
machine that slows down slows both. A step's place between log points decides what else is done beside it, so
the overhead is the median difference of the pairs at each of the ten places, averaged over the places.
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
from report import write_report

import highnoon as hn
from highnoon.callbacks import EventCallback

LOG_INTERVAL = 10
WARM_UP_STEPS = 2 * LOG_INTERVAL

# Of about 20 and 500 ms on two cores.
SHORT_STEP: Any = (
    {"block_pattern": "attention+mlp", "num_reasoning_blocks": 2},
    {"batch_size": 4, "max_seq_length": 64},
)
LONG_STEP: Any = {}, {"batch_size": 8, "max_seq_length": 256}


class Pairs(EventCallback):
    """Times each step of the loop and, after it, the bare step."""

    def __init__(self, trainer: hn.Trainer) -> None:
        super().__init__()
        self.trainer = trainer
        self.pairs: dict[int, list[tuple[float, float]]] = {place: [] for place in range(LOG_INTERVAL)}
        self._batch: Any = None
        self._since = 0.0

    def on_event(self, event: dict) -> None:
        if event["event"] != "step_end":
            return
        in_loop = time.perf_counter() - self._since
        run, data = self.trainer._run, self.trainer._prepared[1][0]
        step = run._step_for(data.config.batch_size)
        if self._batch is None:
            self._batch = data.batch(data.view(0, data.num_allowed(0, 0)), 0)
        began = time.perf_counter()
        float(step(self._batch)["loss"])
        alone = time.perf_counter() - began
        if event["step"] > WARM_UP_STEPS:
            self.pairs[event["step"] % LOG_INTERVAL].append((in_loop, alone))
        self._since = time.perf_counter()


def measure(model: dict[str, Any], rows: dict[str, int], steps: int) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    trainer = hn.Trainer(hn.create_model("highnoon-tiny", **model), **rows)
    trainer.add_curriculum_stage("all", "stdlib:docs", steps=steps + WARM_UP_STEPS)
    watcher = Pairs(trainer)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer.train(
            callbacks=[watcher], log_dir=folder, log_interval=LOG_INTERVAL, save_checkpoints=False,
            eval_interval=10**9,
        )
    pairs = watcher.pairs.values()
    overhead = statistics.mean(statistics.median(a - b for a, b in place) for place in pairs)
    step = statistics.median(b for place in pairs for _, b in place)
    return {"step_ms": 1e3 * step, "overhead_ms": 1e3 * overhead, "overhead_percent": 100 * overhead / step}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short-steps", type=int, default=400)
    parser.add_argument("--long-steps", type=int, default=100)
    arguments = parser.parse_args()
    figures = {}
    for name, size, steps in (("short", SHORT_STEP, arguments.short_steps),
                              ("long", LONG_STEP, arguments.long_steps)):
        figures |= {f"{name}_{key}": value for key, value in measure(*size, steps).items()}
    write_report("loop_overhead", figures)


if __name__ == "__main__":
    main()
