"""Runs a recipe of experts step by step; repeated, it continues where it was."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from highnoon.compat.data_config import DataConfig
from highnoon.compat.expert_configs import SECTIONS_OF, ExpertConfigs
from highnoon.compat.expert_recipe import NEEDED_BY, ExpertRecipe
from highnoon.compat.expert_training import pretrain_configured, train_configured_router
from highnoon.files.folder_lock import folder_lock
from highnoon.files.print_text import print_text

if TYPE_CHECKING:
    from highnoon.experts.runs import Resuming
    from highnoon.experts.runs.recorded_step import Beginning, RecordedSteps

EVALUATION_FILE = "evaluation.json"
_WITHOUT_EFFECT = {
    "transformer": (),
    "state_space": (),
    "diffusion": ("training_steps",),
    "diffuser": ("block_sizes", "head_dim", "rope_base"),
    "router": ("inference_steps",),
}
"""Fields of the sections that a step reads, which change nothing of its result."""
_OF_LOGGING = ("log_interval", "snapshot_epochs", "checkpoint_dir")
"""Those of every step."""


def run_expert_recipe(recipe: ExpertRecipe) -> dict[str, Any]:
    """Trains every expert and the router, assembles the mixture, and evaluates all of them.

    A step is skipped if its result is whole, and neither its configuration nor what it reads has changed. One
    that was stopped or killed resumes at its newest checkpoint.

    Args:
        recipe: The steps.

    Returns:
        The figures of `evaluate_router`, which are in `checkpoint_dir/evaluation.json` too.

    Raises:
        ConfigError: as `pretrain_configured` and `train_configured_router`.
        FolderLockedError: another process runs the steps of this folder.
    """
    from highnoon.experts.runs.recorded_step import RecordedSteps

    runs = pathlib.Path(recipe.checkpoint_dir)
    for expert in sorted(set(recipe.experts) - set(recipe.mixed)):
        print_text(
            f"note: the {expert} is trained, but this mixture does not use it; highnoon experts train-router "
            "--fusion hidden does"
        )
    with folder_lock(runs, "wait until it ends, or give another --checkpoint_dir"):
        steps = RecordedSteps(runs)
        weights = _train_experts(recipe, steps, runs)
        weights["router"] = _train_router(recipe, steps, runs, weights)
        _finish(recipe, steps, runs, weights)
    figures: dict[str, Any] = json.loads((runs / EVALUATION_FILE).read_text(encoding="utf-8"))
    return figures


def _train_experts(recipe: ExpertRecipe, steps: RecordedSteps, runs: pathlib.Path) -> dict[str, str]:
    """Returns the hash of each expert's weights."""
    from highnoon.experts.runs.expert_forms import run_name
    from highnoon.experts.runs.recorded_step import weights_file_hash

    weights: dict[str, str] = {}
    for expert in sorted(recipe.experts, key=lambda name: name in NEEDED_BY):
        configs, model = recipe.configs_of(expert), runs / run_name(expert) / "model"
        needed = NEEDED_BY.get(expert)
        steps.run(
            expert,
            {**described(expert, configs), "needs": None if needed is None else weights[needed]},
            [model],
            functools.partial(_pretrain, expert, configs),
        )
        weights[expert] = weights_file_hash(model)
    return weights


def _pretrain(expert: str, configs: ExpertConfigs, beginning: Beginning) -> None:
    pretrain_configured(expert, configs, resuming=_resuming(beginning), callbacks=[beginning])


def _resuming(beginning: Beginning) -> Resuming:
    """A run resumes from its own checkpoints alone: others in its folder are of other inputs."""
    from highnoon.experts.runs import Resuming

    return Resuming(beginning.run_id is not None, run_id=beginning.run_id)


def _train_router(
    recipe: ExpertRecipe, steps: RecordedSteps, runs: pathlib.Path, weights: Mapping[str, str]
) -> str:
    """Returns the hash of the router's weights."""
    from highnoon.experts.runs.expert_forms import ROUTER_RUN
    from highnoon.experts.runs.recorded_step import weights_file_hash
    from highnoon.experts.runs.vector_store import STORE_FOLDER

    configs, model = recipe.configs_of("router"), runs / ROUTER_RUN / "model"
    steps.run(
        "router",
        {
            **described("router", configs),
            "experts": {name: weights[name] for name in recipe.mixed},
        },
        [model, *([runs / STORE_FOLDER] if recipe.use_vector_store else [])],
        lambda beginning: train_configured_router(
            configs,
            experts=recipe.mixed,
            use_vector_store=recipe.use_vector_store,
            resuming=_resuming(beginning),
            callbacks=[beginning],
        ),
    )
    return weights_file_hash(model)


def _finish(
    recipe: ExpertRecipe, steps: RecordedSteps, runs: pathlib.Path, weights: Mapping[str, str]
) -> None:
    """Assembles the mixture and evaluates it."""
    from highnoon.experts.runs import assemble_mixture
    from highnoon.experts.runs.assemble_mixture import MIXTURE_FOLDER
    from highnoon.experts.runs.evaluate_router import evaluate_router

    steps.run(
        "assemble",
        {"weights": weights, "contains_experts": recipe.contains_experts},
        [runs / MIXTURE_FOLDER],
        lambda _: assemble_mixture(runs, contains_experts=recipe.contains_experts),
    )
    steps.run(
        "evaluate",
        {"weights": weights, **described("router", recipe.configs_of("router"), ("data",))},
        [runs / EVALUATION_FILE],
        lambda _: _write_figures(runs / EVALUATION_FILE, evaluate_router(runs)),
    )


def format_figures(figures: Mapping[str, Any]) -> str:
    """Returns the figures of an evaluation as a table."""
    rows = [(pathlib.Path(expert["path"]).parent.name, expert) for expert in figures["experts"]]
    rows.append(("mixture", figures["mixture"]))
    width = max(len(name) for name, _ in rows)
    lines = [
        f"{name.ljust(width)}  {row['loss']:.4f} nats a token  {row['bits_per_byte']:.3f} bits per byte"
        for name, row in rows
    ]
    gain = figures["best_expert"] - figures["mixture"]["loss"]
    tokens = f"on {figures['num_tokens']:,} held-out tokens"
    return "\n".join([*lines, f"the mixture is {gain:.4f} nats a token below the best expert, {tokens}"])


def described(step: str, configs: ExpertConfigs, sections: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Returns the fields that change the result of a step, and the hash of its text.

    Args:
        step: An expert, or `"router"`.
        configs: Of the step.
        sections: Those that it reads; None for all of its own.
    """
    skipped = {*_OF_LOGGING, *_WITHOUT_EFFECT[step]}
    kept: dict[str, Any] = {}
    for section in SECTIONS_OF[step] if sections is None else sections:
        fields = dataclasses.asdict(getattr(configs, section))
        kept[section] = {name: value for name, value in fields.items() if name not in skipped}
    return {**kept, "text": _text_hashes(configs.data)}


def _text_hashes(data: DataConfig) -> list[str]:
    from highnoon.training.plans.stage_sources import open_stage_sources
    from highnoon.training.plans.stages import CurriculumStage

    stage = CurriculumStage("data", steps=1, **data.stage_arguments())
    (opened,) = open_stage_sources([stage], None)
    return [source.fingerprint() for source in opened.sources]


def _write_figures(path: pathlib.Path, figures: Mapping[str, Any]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    os.replace(unfinished, path)
