"""What four stages of tasks teach in ten minutes: a hybrid of the size of highnoon-nano, and hatching-nano.

    python benchmarks/hatching_tasks.py --data DIR
    python benchmarks/hatching_tasks.py --data DIR --models hybrid --steps hybrid=20 --limit 4    (a trial)

`DIR` holds `tasks/` and `domains/`; without it the folder that HIGHNOON_DATA names is read. Both models
train through the four stages of the Dragon Hatching guide, in rows of 1,024 bytes, and answer held-out
prompts greedily, unconstrained. No prompt is on both sides of the split. Next to the scores are those of the
reference answers, of one constant answer and of the nearest training prompt's answer. Tasks without data are
left out, and the other weights are scaled up.

The shared data has some 540 function calls to train on, few to learn from that names are copied from the
prompt. `--synthetic` gives a part of their weight to records of the generator, whose made-up names can only
be copied. They are trained on as texts, questions included, since a question repeats the names too. The
report has the part, and all answers are to prompts of the shared data.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
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
            "block_pattern": "gated_delta_rule+mlp, attention+mlp",
            "vocab_size": 263,
            "ffn_dim": 384,
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
GENERATED = "synthetic_function_call"
NUM_GENERATED = 12_000
SCORED = ("function_call", "bash_command", "chain_of_thought")


def curriculum(steps: int, tasks: Sequence[str], synthetic: float) -> list[dict[str, Any]]:
    """Returns the guide's stages, with the weights of tasks that have data."""
    stages = []
    for number, (stage, part) in enumerate(zip(STAGES, PARTS, strict=True), start=1):
        weights = {task: weight for task, weight in stage["weights"].items() if task in tasks}
        total = sum(weights.values())
        scaled = {task: weight / total for task, weight in weights.items()}
        if synthetic and "function_call" in scaled:
            scaled[GENERATED] = synthetic * scaled["function_call"]
            scaled["function_call"] -= scaled[GENERATED]
        stages.append({"name": f"stage {number}", "iters": max(1, round(steps * part)), "weights": scaled})
    return stages


def train(
    name: str, steps: int, tasks: Sequence[str], data: str | None, output: str, synthetic: float
) -> tuple[Any, float]:
    """Returns a trained model and the seconds that the run took, its preparation included."""
    began = time.perf_counter()
    values = MODELS[name]
    training = {"max_seq_length": ROW, "weight_decay": 0.1, "warmup_steps": min(50, steps // 10)}
    recipe = Recipe.from_dict(
        {
            **values,
            "training": {**training, **values["training"]},
            "curriculum": {"stages": curriculum(steps, tasks, synthetic)},
            "tasks": {GENERATED: generated_texts(output)} if synthetic else {},
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
    return trainer.model, time.perf_counter() - began


def generated_texts(folder: str) -> str:
    """Writes generated records of function calls as texts, and returns the path of the file."""
    path = pathlib.Path(folder, f"{GENERATED}.jsonl")
    documents = open_task("function_call", synthetic=True, count=NUM_GENERATED).source().documents()
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": document.text}) + "\n" for document in documents)
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
    parser.add_argument("--synthetic", type=float, default=0.0, help="part of function calls, in [0, 1)")
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
    }
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as output:
            model, seconds = train(name, steps[name], tasks, data, output, arguments.synthetic)
        figures |= {
            f"{name}:parameters": model.count_params(),
            f"{name}:steps": steps[name],
            f"{name}:tokens": steps[name] * ROW * MODELS[name]["training"]["batch_size"],
            f"{name}:seconds": seconds,
            f"{name}:is_within_budget": seconds <= SECONDS,
        }
        for task in (task for task in SCORED if task in tasks):
            sample = sample_task(open_task(task, data), arguments.limit)
            result = measure_task(model, sample, uses_bash=True)
            figures |= figures_of(name, result)
            for example, answer in zip(sample.examples[:3], result.answers, strict=False):
                print(f"{task}: {str(example.messages[-1]['content'])[:80]!r} -> {answer[:120]!r}")
    write_report(arguments.name, figures)


if __name__ == "__main__":
    main()
