"""What four stages of tasks teach in ten minutes: a hybrid of the size of highnoon-nano, and hatching-nano.

    python benchmarks/hatching_tasks.py --data DIR
    python benchmarks/hatching_tasks.py --data DIR --models hybrid --steps hybrid=20 --limit 4    (a trial)

`DIR` holds `tasks/` and `domains/`; without it the folder that HIGHNOON_DATA names is read. Both models
train through the four stages of the Dragon Hatching guide, in rows of 1,024 bytes that cut no prompt from
its answer, and answer held-out prompts greedily, unconstrained. No prompt is on both sides of the split.
Next to the scores are those of the reference answers, of one constant answer and of the nearest training
prompt's answer. Tasks without data are left out, and the other weights are scaled up.

A function call repeats names of its prompt. The shared data has some 540 function calls to train on, few to
learn that from, so two kinds of generated records are added, and the report has how many: before the first
stage, random letters that are to be repeated (`--copying`, a part of the steps), and in place of a part of
the function calls (`--synthetic`), records of the task's generator. All answers are to prompts of the shared
data.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import resource
import string
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

from lib.report import write_report

from highnoon.data import SourceNotFoundError
from highnoon.data.tasks import open_task
from highnoon.evaluation.tasks import measure_task
from highnoon.evaluation.tasks.measure_task import TaskResult, sample_task
from highnoon.training.recipes import Recipe
from highnoon.training.recipes.hatching.curriculum_section import STAGES, TASKS
from highnoon.training.recipes.run_recipe import run_recipe

ROW = 1024
SECONDS = 600
PARTS = (0.05, 0.45, 0.25, 0.25)
"""Fractions of the steps in each stage: most are in the second, where function calls weigh most."""
MODELS: dict[str, dict[str, Any]] = {
    "hybrid": {
        "preset": "highnoon-nano",
        "model": {
            "block_pattern": "convolved_attention(num_heads=4)+mlp, mamba2(state_dim=16)+mlp",
            "num_reasoning_blocks": 2,
            "vocab_size": 263,
            "ffn_dim": 256,
            "qk_norm": True,
            "rope_theta": 1e9,
            "max_seq_length": ROW,
        },
        "training": {"optimizer": "muon", "learning_rate": 1e-2, "batch_size": 2},
    },
    "hatching-nano": {
        "preset": "hatching-nano",
        "model": {"max_seq_length": ROW},
        "training": {"batch_size": 2},
    },
}
STEPS = {"hybrid": 2300, "hatching-nano": 250}
"""Meant to take at most ten minutes on two free cores; the report has the seconds."""
COPIED = "synthetic_copying"
NUM_COPIED = 8_000
GENERATED = "synthetic_function_call"
NUM_GENERATED = 12_000
MAX_NEW_TOKENS = 768
"""Of an answer: a fifth of the held-out calls and half of the worked answers have more than 256 bytes."""
SCORED = ("function_call", "bash_command", "chain_of_thought")


def curriculum(steps: int, tasks: Sequence[str], synthetic: float, copying: float) -> list[dict[str, Any]]:
    """Returns the guide's stages, with the weights of tasks that have data, after a stage of copying."""
    num_copying = round(steps * copying)
    stages: list[dict[str, Any]] = []
    if num_copying:
        stages.append({"name": "copying", "iters": num_copying, "weights": {COPIED: 1.0}})
    for number, (stage, part) in enumerate(zip(STAGES, PARTS, strict=True), start=1):
        weights = {task: weight for task, weight in stage["weights"].items() if task in tasks}
        total = sum(weights.values())
        scaled = {task: weight / total for task, weight in weights.items()}
        if synthetic and "function_call" in scaled:
            scaled[GENERATED] = synthetic * scaled["function_call"]
            scaled["function_call"] -= scaled[GENERATED]
        iters = max(1, round((steps - num_copying) * part))
        stages.append({"name": f"stage {number}", "iters": iters, "weights": scaled})
    return stages


def train(
    name: str, stages: Sequence[dict[str, Any]], data: str | None, output: str
) -> tuple[Any, dict[str, float]]:
    """Returns a trained model, and the seconds and processor seconds of the run with its preparation."""
    began, used = time.perf_counter(), processor_seconds()
    values = MODELS[name]
    steps = sum(stage["iters"] for stage in stages)
    training = {
        "max_seq_length": ROW,
        "whole_documents": True,
        "weight_decay": 0.1,
        "warmup_steps": min(50, steps // 10),
    }
    generated = {COPIED: copied_letters(output), GENERATED: f"synthetic:function_call:{NUM_GENERATED}"}
    named = {task for stage in stages for task in stage["weights"]}
    recipe = Recipe.from_dict(
        {
            **values,
            "training": {**training, **values["training"]},
            "curriculum": {"stages": list(stages)},
            "tasks": {task: source for task, source in generated.items() if task in named},
            "data_dir": data,
            "output": output,
            "log_interval": 100,
            "eval_interval": 10**9,
            "save_checkpoints": False,
            "verbose": False,
        }
    )
    trainer = recipe.make_trainer()
    run_recipe(recipe, trainer)
    spent = {
        "seconds": time.perf_counter() - began,
        "processor_seconds": processor_seconds() - used,
    }
    return trainer.model, spent


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def copied_letters(folder: str) -> str:
    """Writes records whose answer is the prompt, 12 to 20 random letters; returns the path of the file."""
    chooser = random.Random(0)
    path = pathlib.Path(folder, f"{COPIED}.jsonl")
    with path.open("w", encoding="utf-8") as file:
        for _ in range(NUM_COPIED):
            letters = "".join(chooser.choices(string.ascii_lowercase, k=chooser.randrange(12, 21)))
            file.write(json.dumps({"instruction": letters, "response": letters}) + "\n")
    return os.fspath(path)


def figures_of(name: str, result: TaskResult) -> dict[str, Any]:
    """Returns the figures of a task under flat keys."""
    values = result.to_json()
    found: dict[str, Any] = {}
    for metric, scores in values["metrics"].items():
        key = f"{name}:{result.sample.label}:{metric}"
        found[key] = scores["value"]
        found |= {f"{key}:{part}": scores[part] for part in ("low", "high", "cases")}
        for kind in ("ceiling", "constant_answer", "copied_answer"):
            if kind in scores:
                found[f"{key}:{kind}"] = scores[kind]
    key = f"{name}:{result.sample.label}"
    found[f"{key}:at_least_half_distinct"] = values["at_least_half_distinct"]
    return found | {f"{key}:{part}": values[part] for part in ("num_too_long", "num_unfinished")}


def tasks_with_data(data: str | None) -> list[str]:
    found = []
    for task in TASKS:
        try:
            open_task(task, data)
            found.append(task)
        except SourceNotFoundError as error:
            warnings.warn(f"{error}; the other weights are scaled up", stacklevel=2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="folder with tasks/ and domains/")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--steps", nargs="*", metavar="MODEL=N", default=[], help="other numbers of steps")
    parser.add_argument("--synthetic", type=float, default=0.7, help="part of function calls, in [0, 1)")
    parser.add_argument("--copying", type=float, default=0.07, help="part of the steps, in [0, 1)")
    parser.add_argument("--limit", type=int, default=64, help="held-out prompts of each task")
    parser.add_argument("--name", default="hatching_tasks", help="name of the file of results")
    arguments = parser.parse_args()
    steps = {**STEPS, **{name: int(n) for name, _, n in (word.partition("=") for word in arguments.steps)}}
    data = None if arguments.data is None else os.fspath(pathlib.Path(arguments.data).resolve())
    tasks = tasks_with_data(data)
    figures: dict[str, Any] = {
        "row_bytes": ROW,
        "budget_seconds": SECONDS,
        "synthetic_part_of_function_calls": arguments.synthetic,
        "copying_part_of_steps": arguments.copying,
    }
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as output:
            stages = curriculum(steps[name], tasks, arguments.synthetic, arguments.copying)
            model, spent = train(name, stages, data, output)
        figures |= {
            f"{name}:parameters": model.count_params(),
            f"{name}:steps": steps[name],
            f"{name}:tokens": steps[name] * ROW * MODELS[name]["training"]["batch_size"],
            **{f"{name}:{key}": value for key, value in spent.items()},
            f"{name}:is_within_budget": spent["seconds"] <= SECONDS,
        }
        for task in (task for task in SCORED if task in tasks):
            sample = sample_task(open_task(task, data), arguments.limit)
            result = measure_task(model, sample, MAX_NEW_TOKENS, uses_bash=True)
            figures |= figures_of(name, result)
            for example, answer in zip(sample.examples[:3], result.answers, strict=False):
                print(f"{task}: {str(example.messages[-1]['content'])[:80]!r} -> {answer[:120]!r}")
    write_report(arguments.name, figures)


if __name__ == "__main__":
    main()
