"""What a background checkpoint delays, what replicas cost, and how soon a resumed run takes a step.

    python benchmarks/training_engine.py

Three measurements of one model, each in a process of its own:

- stall: the time of a step during which a checkpoint is written, compared with the median of the others;
- scaling: tokens a second of one device, of two replicas in one process, and of two processes, each with
  the same global batch on the same cores, in turns;
- resume: seconds from the start of the process to the end of the first resumed step, compared with a new run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

BEGAN = time.perf_counter()
MODEL = {
    "vocab_size": 4096,
    "embedding_dim": 256,
    "num_reasoning_blocks": 4,
    "max_seq_length": 256,
    "num_heads": 4,
    "block_pattern": "attention+mlp",
}
GLOBAL_BATCH, MICRO_BATCH, INTERVAL = 16, 4, 10


def train(kind: str, folder: str, steps: int) -> dict[str, list[float]]:
    """Runs in a process of its own; returns the seconds at which steps ended and checkpoints began."""
    import keras
    import tensorflow as tf

    if kind == "replicas":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import highnoon as hn
    from highnoon.callbacks import EventCallback
    from highnoon.training.distributed import resolve_strategy

    class Clock(EventCallback):
        ends: list[float] = []

        def on_event(self, event: dict) -> None:
            if event["event"] == "step_end":
                self.ends.append(time.perf_counter() - BEGAN)

    strategy = resolve_strategy("auto")
    if kind == "replicas":
        strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = hn.create_model(hn.ModelConfig(**MODEL))
    trainer = hn.Trainer(
        model,
        batch_size=MICRO_BATCH,
        global_batch_size=GLOBAL_BATCH,
        max_seq_length=256,
        strategy=strategy,
        validation_split=0.0,
    )
    trainer.add_curriculum_stage("all", "stdlib:docs", steps=steps)
    clock = Clock()
    saves = kind in ("stall", "resume")
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train(
            callbacks=[clock],
            save_checkpoints=saves,
            checkpoint_dir=f"{folder}/checkpoints",
            log_dir=folder,
            checkpoint_interval=INTERVAL,
            resume_from=True if kind == "resume" else None,
            eval_interval=10**9,
            allow_plan_change=kind == "resume",
            log_interval=10**9,
        )
    return {"ends": clock.ends, "is_chief": trainer.replicas.is_chief, "parameters": model.count_params()}


def in_own_process(kind: str, folder: str, steps: int) -> dict:
    """Runs `train` in a process, or two, and returns what the chief says."""
    words = [sys.executable, __file__, "--kind", kind, "--folder", folder, "--steps", str(steps)]
    if kind == "processes":
        words = [sys.executable, "-m", "highnoon.cli", "launch", "--workers", "2", "--", *words[1:]]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    lines = [line for line in done.stdout.splitlines() if '"ends"' in line]
    results = [json.loads(line[line.index("{") :]) for line in lines]
    chief = next(result for result in results if result["is_chief"])
    return chief | {"seconds": time.perf_counter() - began}


def seconds_a_step(ends: list[float], skip: int = 4) -> float:
    gaps = [later - earlier for earlier, later in zip(ends[skip:], ends[skip + 1 :], strict=False)]
    return statistics.median(gaps)


def stall(folder: str) -> dict[str, float]:
    ends = in_own_process("stall", f"{folder}/stall", 5 * INTERVAL + 5)["ends"]
    gaps = [later - earlier for earlier, later in zip(ends, ends[1:], strict=False)]
    # The gap before step n + 1 holds the copy made after step n, and what is written meanwhile.
    during = [gaps[step_number - 1] for step_number in range(INTERVAL, len(ends), INTERVAL)]
    quiet = [gap for step_number, gap in enumerate(gaps, start=1) if step_number % INTERVAL > 3]
    step = statistics.median(quiet)
    delays = [gap - step for gap in during]
    return {
        "step_ms": 1e3 * step,
        "stall_ms": 1e3 * statistics.median(delays),
        "stall_in_steps": statistics.median(delays) / step,
        "largest_stall_in_steps": max(delays) / step,
    }


def scaling(folder: str, rounds: int, steps: int) -> dict[str, float]:
    kinds = ("one", "replicas", "processes")
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds):
        for kind in kinds:
            ends = in_own_process(kind, f"{folder}/{kind}_{turn}", steps)["ends"]
            times[kind].append(seconds_a_step(ends))
    tokens = GLOBAL_BATCH * MODEL["max_seq_length"]
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    figures = {f"{kind}_tokens_per_second": tokens / medians[kind] for kind in kinds}
    return figures | {f"{kind}_of_one": medians["one"] / medians[kind] for kind in kinds[1:]}


def resume(folder: str) -> dict[str, float]:
    new = in_own_process("resume", f"{folder}/resume", INTERVAL)["ends"]
    again = in_own_process("resume", f"{folder}/resume", 2 * INTERVAL)["ends"]
    ratio = again[0] / new[0]
    return {"new_run_first_step_s": new[0], "resumed_first_step_s": again[0], "resume_ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=["stall", "one", "replicas", "processes", "resume"])
    parser.add_argument("--folder")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.kind:
        pathlib.Path(arguments.folder).mkdir(parents=True, exist_ok=True)
        print(json.dumps(train(arguments.kind, arguments.folder, arguments.steps)), flush=True)
        return
    from lib.report import write_report

    with tempfile.TemporaryDirectory() as folder:
        figures = stall(folder) | scaling(folder, arguments.rounds, arguments.steps) | resume(folder)
    write_report("training_engine", figures)


if __name__ == "__main__":
    main()
