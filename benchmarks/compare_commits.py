"""How fast this tree is compared with an earlier commit, measured in pairs of processes that take turns.

    python benchmarks/compare_commits.py 1a2b3c4 --rounds 5

Each round runs both commits on the same task, one after the other, in processes of their own:

- step: milliseconds of one training step of a small hybrid model with experts;
- loop: milliseconds of one step of a model so small that the loop around the step is most of it;
- first_step: seconds from the call of `train` to the end of the first step of the hybrid model;
- decode: milliseconds for one new token of the hybrid model, one prompt, compiled;
- prepare: seconds to tokenize JSON lines into a store with two workers.

The figure is the median over the rounds of `this tree / earlier commit`: below 1 is faster.
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

ROOT = pathlib.Path(__file__).resolve().parents[1]
TASKS = ("step", "loop", "first_step", "decode", "prepare")
HYBRID = {
    "vocab_size": 4096,
    "embedding_dim": 192,
    "num_reasoning_blocks": 2,
    "max_seq_length": 256,
    "num_heads": 4,
    "block_pattern": "mamba2+mlp, attention+moe",
    "num_experts": 4,
}
TINY = {
    "vocab_size": 512,
    "embedding_dim": 16,
    "num_reasoning_blocks": 1,
    "max_seq_length": 16,
    "num_heads": 2,
    "block_pattern": "attention+mlp",
}


def train(config: dict, steps: int, row_length: int, folder: pathlib.Path) -> tuple[float, list[float]]:
    """Trains and returns when `train` was called and when each step ended, in seconds."""
    import keras

    import highnoon as hn
    from highnoon.callbacks import EventCallback
    from highnoon.tokenization import load_tokenizer

    class Clock(EventCallback):
        ends: list[float] = []

        def on_event(self, event: dict) -> None:
            if event["event"] == "step_end":
                self.ends.append(time.perf_counter())

    keras.utils.set_random_seed(0)
    model = hn.create_model(hn.ModelConfig(**config))
    tokenizer = load_tokenizer(folder / f"tokenizer_{config['vocab_size']}")
    trainer = hn.Trainer(
        model, batch_size=4, max_seq_length=row_length, tokenizer=tokenizer, cache_dir=folder / "cache"
    )
    trainer.add_curriculum_stage("all", "stdlib:docs", steps=steps)
    trainer.plan()
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train(callbacks=[Clock()], save_checkpoints=False, log_dir=None, eval_interval=10**9)
    return began, Clock.ends


def median_step(ends: list[float], skip: int) -> float:
    return statistics.median(b - a for a, b in zip(ends[skip:], ends[skip + 1 :], strict=False))


def run_task(task: str, folder: pathlib.Path) -> float:
    if task == "step":
        return 1e3 * median_step(train(HYBRID, 40, 256, folder)[1], 5)
    if task == "loop":
        return 1e3 * median_step(train(TINY, 600, 16, folder)[1], 50)
    if task == "first_step":
        began, ends = train(HYBRID, 1, 256, folder)
        return ends[0] - began
    return decode() if task == "decode" else prepare(folder)


def decode(num_tokens: int = 200) -> float:
    import numpy as np

    import highnoon as hn
    from highnoon.inference import generate

    model = hn.create_model(hn.ModelConfig(**HYBRID))
    prompt = np.arange(8, dtype="int32")[None]
    times = []
    for seed in range(4):
        began = time.perf_counter()
        ids = generate(model, prompt, max_new_tokens=num_tokens, seed=seed)
        times.append((time.perf_counter() - began) / (np.asarray(ids).shape[-1] - prompt.shape[-1]))
    return 1e3 * statistics.median(times[1:])


def prepare(folder: pathlib.Path) -> float:
    from highnoon.data import Files, prepare
    from highnoon.tokenization import load_tokenizer

    tokenizer = load_tokenizer(folder / "tokenizer_4096")
    with tempfile.TemporaryDirectory() as target:
        began = time.perf_counter()
        prepare(Files(folder / "corpus.jsonl"), tokenizer, pathlib.Path(target) / "store", num_workers=2)
        return time.perf_counter() - began


def run_apart(tree: pathlib.Path, task: str, folder: pathlib.Path) -> float:
    """Runs one task with the code of a tree, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(tree), "TF_CPP_MIN_LOG_LEVEL": "3"}
    words = [sys.executable, __file__, "-", "--task", task, "--folder", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{task} in {tree} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["value"])


def write_inputs(folder: pathlib.Path, megabytes: float) -> None:
    """Writes a corpus and trains the tokenizers that both commits use."""
    from preparation import write_corpus

    from highnoon.data import StandardLibrary, train_tokenizer

    write_corpus(folder / "corpus.jsonl", int(megabytes * 1e6))
    for size in (HYBRID["vocab_size"], TINY["vocab_size"]):
        train_tokenizer([StandardLibrary()], size).save(folder / f"tokenizer_{size}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=60, help="size of the corpus that is prepared")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps({"value": run_task(arguments.task, arguments.folder)}))
        return
    from lib.report import write_report

    with tempfile.TemporaryDirectory() as scratch:
        folder, earlier = pathlib.Path(scratch), pathlib.Path(scratch) / "earlier"
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", earlier, arguments.commit], cwd=ROOT, check=True
        )
        try:
            write_inputs(folder, arguments.megabytes)
            figures = {}
            for task in arguments.tasks:
                run_apart(earlier, task, folder)  # fills caches of files
                pairs = []
                for turn in range(arguments.rounds):
                    trees = (earlier, ROOT) if turn % 2 else (ROOT, earlier)
                    values = {tree: run_apart(tree, task, folder) for tree in trees}
                    pairs.append((values[earlier], values[ROOT]))
                    print(f"{task}: earlier {pairs[-1][0]:.4g}, this tree {pairs[-1][1]:.4g}", flush=True)
                figures[f"{task}_earlier"] = statistics.median(pair[0] for pair in pairs)
                figures[f"{task}_ratio"] = statistics.median(new / old for old, new in pairs)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", earlier], cwd=ROOT, check=True)
        write_report("compare_commits", {"earlier_commit": arguments.commit, **figures})


if __name__ == "__main__":
    main()
