"""A checkpoint under the names that the Dragon Hatching guide has for its contents."""

from __future__ import annotations

import os
from typing import Any


def read_hatching_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns what a checkpoint holds, under the guide's names.

    The files of a checkpoint are JSON and safetensors, so nothing in them is executed.

    Args:
        path: A checkpoint, or `hatching_step_N`, `hatching_best` or `hatching_final`, with or without `.pt`.

    Returns:
        A mapping of

        - `step`: optimizer steps taken;
        - `model_state`, `optimizer_state`: arrays by name;
        - `scheduler_state`: `step`, `peak_learning_rate`, `schedule` and `learning_rate_factor`, from which
          the learning rate follows;
        - `config`: `model` and `training`;
        - `eval_metrics`: the figures of the last evaluation, and `lowest_val_loss`;
        - `rng_state`: `seed`, the arrays of the random states, and `data`, the position in the data: rows
          follow from the seed and this position.

    Raises:
        CheckpointError: there is no checkpoint, or it is of no run.

    Example:

    ```python
    import highnoon as hn
    from highnoon.compat import read_hatching_checkpoint

    stage = {"name": "docs", "datasets": "stdlib:docs", "steps": 2}
    shape = {"block_pattern": "transformer", "num_reasoning_blocks": 1, "max_seq_length": 32}
    hn.Recipe(preset="highnoon-nano", model=shape, stages=[stage], output="run", verbose=False).train()
    saved = read_hatching_checkpoint("run/hatching_final.pt")
    assert saved["step"] == 2 and saved["config"]["training"]["seed"] == saved["rng_state"]["seed"]
    ```
    """
    from highnoon.models.arrays import load_arrays
    from highnoon.training.checkpoints.checkpoint import CheckpointError
    from highnoon.training.checkpoints.inspection import (
        OPTIMIZER_FILE,
        WEIGHTS_FILE,
        inspect_folder,
        read_description_or_nothing,
    )
    from highnoon.training.checkpoints.saved_run import SavedRun
    from highnoon.training.checkpoints.snapshot import OPTIMIZER, under

    saved = SavedRun.find(path)
    if not saved.has_begun:
        raise CheckpointError(f"{saved.folder} holds no run; give a checkpoint that train() wrote")
    facts, progress = inspect_folder(saved.folder), saved.state["run"]["progress"]
    arrays = load_arrays(saved.folder / OPTIMIZER_FILE)
    training = saved.state["training_config"]
    position = ("stage", "epoch", "step_in_epoch", "stage_step", "spans")
    return {
        "step": int(progress["step"]),
        "model_state": load_arrays(saved.folder / WEIGHTS_FILE),
        "optimizer_state": under(OPTIMIZER, arrays),
        "scheduler_state": {
            "step": int(progress["step"]),
            "peak_learning_rate": facts.peak_learning_rate,
            "schedule": facts.schedule,
            "learning_rate_factor": facts.learning_rate_factor,
        },
        "config": {
            "model": read_description_or_nothing(saved.folder).get("model"),
            "training": training,
        },
        "eval_metrics": {
            **progress.get("evaluated_figures", {}),
            "lowest_val_loss": progress.get("lowest_val_loss"),
        },
        "rng_state": {
            "seed": training["seed"],
            "random": under("random/", arrays),
            "data": {name: progress[name] for name in position if name in progress},
        },
    }
