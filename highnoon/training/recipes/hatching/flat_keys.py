"""Recipes without sections, as the configuration files of the guide's repository are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError, require_choice, resolve_keys, shown
from highnoon.training.recipes.hatching.guide_keys import as_number

MODEL_TYPES = ("bdh", "hatching")
FLAT: Mapping[str, str] = {
    "n_layer": "model",
    "n_embd": "model",
    "n_head": "model",
    "vocab_size": "model",
    "dropout": "model",
    "dtype": "model",
    "gradient_checkpointing": "model",
    "mlp_multiplier": "model",
    "mlp_internal_dim_multiplier": "model",
    "tau_mem": "lif",
    "tau_syn": "lif",
    "v_threshold": "lif",
    "v_reset": "lif",
    "tau_plus": "stdp",
    "tau_minus": "stdp",
    "A_plus": "stdp",
    "A_minus": "stdp",
    "sparsity_target": "bio",
    "sparsity_weight": "bio",
    "excitatory_ratio": "bio",
    "scale_free_gamma": "bio",
    "trace_decay": "bio",
    "batch_size": "training",
    "gradient_accumulation_steps": "training",
    "max_seq_len": "training",
    "learning_rate": "training",
    "weight_decay": "training",
    "max_iters": "training",
    "warmup_iters": "training",
    "warmup_steps": "training",
    "grad_clip": "training",
    "max_grad_norm": "training",
    "early_stopping_patience": "training",
    "early_stopping_min_delta": "training",
    "seed": "training",
    "log_freq": "monitor",
    "eval_freq": "monitor",
    "save_freq": "monitor",
    "nan_check": "monitor",
    "nan_threshold": "monitor",
    "task_weights": "curriculum",
}
"""Flat keys and the section that each belongs to."""
RENAMED: Mapping[str, tuple[str, str]] = {
    "max_steps": ("training", "max_iters"),
    "beta1": ("training", "adam_beta1"),
    "beta2": ("training", "adam_beta2"),
    "min_lr_ratio": ("training", "min_learning_rate_ratio"),
    "checkpoint_freq": ("monitor", "save_freq"),
    "curriculum_enabled": ("curriculum", "enabled"),
}
TOP: Mapping[str, str] = {
    "keep_last_n_checkpoints": "keep_checkpoints",
    "experiment_name": "run_name",
    "checkpoint_dir": "checkpoint_dir",
    "log_dir": "log_dir",
}
WITHOUT_EFFECT: Mapping[str, str] = {
    "device": "the run takes all devices; CUDA_VISIBLE_DEVICES chooses GPUs",
    "compile": "`jit_compile` of a recipe decides on XLA",
    "compile_model": "`jit_compile` of a recipe decides on XLA",
    "use_tensorboard": "every run writes TensorBoard's files",
    "lr_decay_steps": "the schedule ends with the run",
}
SIGNS = ("model_type", "tau_mem", "tau_syn", "v_threshold", "curriculum_stages", "curriculum_enabled")
"""Keys that only a flat configuration has at its top level."""
_STACKLEVEL = 6


def is_flat(recipe: Mapping[str, Any]) -> bool:
    """Returns whether a recipe has the keys of the guide's repository at its top level."""
    return any(key in recipe for key in SIGNS)


def with_sections(recipe: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Returns a flat configuration with the guide's sections.

    Args:
        recipe: The flat configuration.
        known: The keys of a recipe, which may stand next to flat ones.

    Raises:
        ConfigError: an unknown key, or a model or a stage that cannot be translated.
    """
    own = {*FLAT, *RENAMED, *TOP, *WITHOUT_EFFECT, "model_type", "curriculum_stages", "min_lr"}
    own |= {"use_wandb", "wandb_project", "name"}
    values = resolve_keys(recipe, own | known, "the recipe")
    kind = require_choice("model_type", values.pop("model_type", "hatching"), MODEL_TYPES)
    found: dict[str, Any] = {"lif": {}} if kind == "hatching" else {}
    for key in [key for key in values if key in own]:
        value = values.pop(key)
        if key in FLAT and FLAT[key] in ("lif", "stdp", "bio") and kind == "bdh":
            warnings.warn(f"`{key}` has no effect with `model_type: bdh`", stacklevel=_STACKLEVEL)
        elif key in FLAT:
            found.setdefault(FLAT[key], {})[key] = value
        elif key in RENAMED:
            section, name = RENAMED[key]
            found.setdefault(section, {})[name] = value
        elif key in TOP:
            found[TOP[key]] = value
        elif key in WITHOUT_EFFECT:
            warnings.warn(f"`{key}` has no effect: {WITHOUT_EFFECT[key]}", stacklevel=_STACKLEVEL)
        elif key == "name":
            found["run_name"] = value
        else:
            values[key] = value
    return {**_other_sections(values, found), **found}


def _other_sections(values: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Moves the keys that take more than a new name, and returns the keys that are a recipe's own."""
    if "min_lr" in values:
        training = found.setdefault("training", {})
        rate, least = as_number(training.get("learning_rate", 1e-3)), as_number(values.pop("min_lr"))
        if not isinstance(rate, (int, float)) or not isinstance(least, (int, float)) or rate <= 0:
            raise ConfigError(
                f"`min_lr` must be a number next to a `learning_rate` above 0; received {shown(least)}"
            )
        training["min_learning_rate_ratio"] = least / rate
    if found.get("training", {}).get("early_stopping_patience") == 0:
        found["training"]["early_stopping_patience"] = None
    project = values.pop("wandb_project", None)
    if values.pop("use_wandb", False):
        found["wandb"] = {} if project is None else {"project": project}
    if stages := values.pop("curriculum_stages", None):
        if all(isinstance(stage, Mapping) and "weights" in stage for stage in stages):
            found.setdefault("curriculum", {})["stages"] = stages
        else:
            found["stages"] = [_stage(number, stage) for number, stage in enumerate(stages, start=1)]
            found.get("training", {}).pop("max_iters", None)
    elif found.get("curriculum") is None and not values.get("stages"):
        found["curriculum"] = {"enabled": False}
    return values


def _stage(number: int, stage: Any) -> dict[str, Any]:
    """Returns a stage of a recipe: `max_steps` of a dataset, with a learning rate of its own."""
    if not isinstance(stage, Mapping):
        raise ConfigError(f"stage {number} of `curriculum_stages` must be a mapping; received {shown(stage)}")
    known = {"name", "max_steps", "dataset", "learning_rate", "batch_size", "max_seq_len"}
    given = {key: stage[key] for key in stage}
    for key in given:
        if key not in known:
            resolve_keys({key: None}, known, f"stage {number} of `curriculum_stages`")
    overrides = {key: as_number(given[key]) for key in ("learning_rate", "batch_size") if key in given}
    if "dataset" not in given or "max_steps" not in given:
        raise ConfigError(f"stage {number} of `curriculum_stages` needs `dataset` and `max_steps`")
    made = {
        "name": given.get("name", f"stage {number}"),
        "datasets": [given["dataset"]],
        "steps": given["max_steps"],
    }
    return {**made, "overrides": overrides} if overrides else made
