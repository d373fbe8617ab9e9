"""The held-out figures of a trained router and of each of its experts."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from typing import Any

from highnoon.config import ConfigError
from highnoon.evaluation.held_out_figures import num_supervised
from highnoon.experts.runs.expert_forms import ROUTER_RUN
from highnoon.files.expand_home import expand_home
from highnoon.models.find_model import find_model
from highnoon.training.recipes.check_recipe import check_recipe
from highnoon.training.recipes.make_trainer import make_trainer
from highnoon.training.recipes.recipe import Recipe


def evaluate_router(checkpoint_dir: str | os.PathLike[str] = "checkpoints") -> dict[str, Any]:
    """Evaluates a router on the documents that its run held out, from the experts' derived columns.

    Args:
        checkpoint_dir: Folder of the runs.

    Returns:
        `experts`, the path, `loss` (nats a token) and `bits_per_byte` of each; `mixture`, with `loss` and
        `bits_per_byte`; `best_expert`, the lowest loss of an expert; `num_tokens` and `num_bytes`.

    Raises:
        ConfigError: there is no router, or an expert has changed.
    """
    run = pathlib.Path(expand_home(checkpoint_dir), ROUTER_RUN)
    recipe = Recipe.load(run)
    if recipe.objective is None:
        raise ConfigError(
            f"the router in {run} must mix distributions to be compared with its experts; it fuses hidden "
            f"states; give the model of {run} to: highnoon evaluate"
        )
    recipe = dataclasses.replace(recipe, model={"path": str(find_model(run))}, verbose=False)
    trainer = make_trainer(recipe, check_recipe(recipe))
    rows = trainer.stage_data()[0].validation_rows
    if rows is None:
        raise ConfigError(
            f"the run in {run} must hold documents out to be evaluated; give --val_split above 0"
        )
    figures = trainer.evaluate()
    num_tokens, num_bytes = num_supervised(rows), int(rows.num_bytes)
    bits = num_tokens / num_bytes / math.log(2)
    losses = [figures[f"mixture/expert_loss_{number}"] for number in range(len(recipe.objective["experts"]))]
    experts = [
        {"path": path, "loss": loss, "bits_per_byte": loss * bits}
        for path, loss in zip(recipe.objective["experts"], losses, strict=True)
    ]
    return {
        "experts": experts,
        "best_expert": min(losses),
        "mixture": {"loss": figures["loss"], "bits_per_byte": figures["loss"] * bits},
        "num_tokens": num_tokens,
        "num_bytes": num_bytes,
    }
