"""What the training loop costs beside the compiled step.

    python benchmarks/loop_overhead.py

The same batches go through the compiled step alone and through `Trainer.train` with its default callbacks.
Both are timed in turns within one process; the overhead is the median difference of a step's time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time

import keras
from report import write_report

import highnoon as hn
from highnoon.callbacks import EventCallback


class StepTimes(EventCallback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_event(self, event: dict) -> None:
        if event["event"] == "step_end":
            self.times.append(time.perf_counter())

    def seconds_a_step(self, skip: int) -> float:
        """Mean, so that what a log point costs is spread over its interval."""
        times = self.times[skip:]
        return (times[-1] - times[0]) / (len(times) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = hn.create_model("highnoon-tiny")
    trainer = hn.Trainer(model, batch_size=8, max_seq_length=256)
    trainer.add_curriculum_stage("all", "stdlib:docs", steps=arguments.steps)
    whole, alone = [], []
    for _ in range(arguments.rounds):
        watcher = StepTimes()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            trainer.train(callbacks=[watcher], log_dir=folder, save_checkpoints=False, eval_interval=10**9)
        whole.append(watcher.seconds_a_step(skip=10))
        alone.append(_seconds_of_steps_alone(trainer, arguments.steps))
    overhead = statistics.median(a - b for a, b in zip(whole, alone, strict=True))
    step = statistics.median(alone)
    write_report(
        "loop_overhead",
        {
            "step_alone_ms": 1e3 * step,
            "step_in_loop_ms": 1e3 * statistics.median(whole),
            "overhead_ms": 1e3 * overhead,
            "overhead_percent": 100 * overhead / step,
        },
    )


def _seconds_of_steps_alone(trainer: hn.Trainer, steps: int) -> float:
    run, data = trainer._run, trainer._prepared[1][0]
    step = run._step_for(data.config.batch_size)
    batches = [data.batch(data.view(0, data.num_allowed(0, 0)), index) for index in range(steps)]
    for batch in batches[:10]:
        step(batch)
    began = time.perf_counter()
    for batch in batches[10:]:
        metrics = step(batch)
    float(metrics["loss"])
    return (time.perf_counter() - began) / (steps - 10)


if __name__ == "__main__":
    main()
