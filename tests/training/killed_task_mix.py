"""A run of the guide's four stages of tasks that may be killed anywhere: `killed_task_mix.py FOLDER`.

Started again by the same command it resumes. It prints `step N` after each step.
"""

import sys
import time
from typing import Any

from highnoon.training.recipes import Recipe
from highnoon.training.recipes.hatching.curriculum_section import STAGES, TASKS
from highnoon.training.recipes.run_recipe import run_recipe

NUM_STEPS = 6  # of each stage
ROW = 64


def recipe_of(folder: str) -> Recipe:
    stages = [
        {"name": f"stage {number}", "iters": NUM_STEPS, "weights": dict(stage["weights"])}
        for number, stage in enumerate(STAGES, start=1)
    ]
    values: dict[str, Any] = {
        "preset": "highnoon-nano",
        "model": {
            "block_pattern": "gated_delta_rule+mlp, attention+mlp",
            "embedding_dim": 16,
            "num_reasoning_blocks": 1,
            "vocab_size": 263,
            "max_seq_length": ROW,
            "dropout": 0.1,
        },
        "training": {"optimizer": "muon", "learning_rate": 1e-2, "batch_size": 2, "max_seq_length": ROW},
        "curriculum": {"stages": stages},
        "tasks": {task: f"synthetic:{task}:60" for task in TASKS},
        "output": folder,
        "checkpoint_interval": 4,
        "log_interval": 2,
        "eval_interval": 9,
        "jit_compile": False,  # XLA takes longer than so few steps
        "verbose": False,
        "resume_from": True,
    }
    return Recipe.from_dict(values)


def say_step(event: dict[str, Any]) -> None:
    if event["event"] == "step_end":
        print(f"step {event['step']}", flush=True)
        time.sleep(0.03)  # for whoever watches


if __name__ == "__main__":
    recipe = recipe_of(sys.argv[1])
    run_recipe(recipe, recipe.make_trainer(), [say_step])
