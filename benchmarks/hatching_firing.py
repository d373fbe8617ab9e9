"""How often the neurons of the documented spiking model fire, from the first batch to step 50.

    python benchmarks/hatching_firing.py --data DIR
    python benchmarks/hatching_firing.py --layers 2 --width 64 --steps 5        (a trial)

The model, the `lif:`, `stdp:`, `bio:` and `training:` values are those of `recipes/hatching/custom.yaml`,
with spike timing enabled and batches of 2 x 128. `DIR` holds `tasks/` and `domains/`; without it the
generators of the tasks make the text. Figures are the firing rates of each layer, whose target is 0.10, and
the largest gradient norm before clipping.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from lib.report import write_report

from highnoon.training.recipes import Recipe
from highnoon.training.recipes.run_recipe import run_recipe

RECIPE = pathlib.Path(__file__).parents[1] / "recipes" / "hatching" / "custom.yaml"
RATE = "activation/firing_rate_level_"
FIRST_STAGE = {"text_completion": 0.7, "chain_of_thought": 0.3}


def train(options: argparse.Namespace, output: str) -> list[dict[str, Any]]:
    """Returns the metrics of each step."""
    recipe = Recipe.load(
        RECIPE,
        {
            "model.n_layer": options.layers,
            "model.n_embd": options.width,
            "stdp.enabled": True,
            "training.batch_size": 2,
            "training.max_seq_len": 128,
            "training.max_iters": options.steps,
            "monitor.log_freq": 1,
            "curriculum.stages": [{"iters": options.steps, "weights": FIRST_STAGE}],
            "validation_steps": 1,
            "tasks": "local" if options.data else "synthetic",
            "data_dir": options.data,
            "output": output,
            "evaluators": [],
            "eval_interval": 10**9,
            "save_checkpoints": False,
        },
    )
    trainer = recipe.make_trainer()
    logged: list[dict[str, Any]] = []
    run_recipe(recipe, trainer, [lambda event: event["event"] == "log" and logged.append(event["metrics"])])
    return logged


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", metavar="DIR", help="folder with tasks/ and domains/")
    for name, default in {"layers": 6, "width": 256, "steps": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as output:
        logged = train(options, output)
    figures: dict[str, Any] = {"layers": options.layers, "width": options.width, "steps": len(logged)}
    for step, metrics in (("first_batch", logged[0]), ("last_batch", logged[-1])):
        figures |= {f"{step}_layer_{level}": metrics[f"{RATE}{level}"] for level in range(options.layers)}
    rates = [metrics[f"{RATE}{level}"] for metrics in logged for level in range(options.layers)]
    write_report(
        "hatching_firing",
        figures
        | {
            "lowest_rate": min(rates),
            "highest_rate": max(rates),
            "largest_gradient_norm": max(metrics["train/grad_norm"] for metrics in logged),
            "seconds": time.perf_counter() - began,
        },
    )


if __name__ == "__main__":
    main()
