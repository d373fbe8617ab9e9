"""Puts trained experts and their router together as one saved model."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.experts.mixture import MixtureOfModels
from highnoon.experts.runs.expert_forms import ROUTER_RUN
from highnoon.files.expand_home import expand_home
from highnoon.models.find_model import find_model
from highnoon.models.saving import ModelFolderError
from highnoon.training.recipes.recipe import Recipe

MIXTURE_FOLDER = "nanothink"
"""Name of the assembled mixture in a folder of checkpoints."""


def assemble_mixture(
    checkpoint_dir: str | os.PathLike[str] = "checkpoints",
    output: str | os.PathLike[str] | None = None,
    *,
    experts: Sequence[str] | None = None,
    router: str | os.PathLike[str] | None = None,
    contains_experts: bool = True,
) -> pathlib.Path:
    """Saves the mixture of trained experts under their router.

    Args:
        checkpoint_dir: Folder of the runs of experts and router.
        output: Where it is saved; None for `checkpoint_dir/nanothink`.
        experts: Paths of the experts, in the order of the router's training; None takes those of the router's
            recipe.
        router: Path of the router; None takes that of `checkpoint_dir`.
        contains_experts: Whether the folder contains the experts; if not, it names each by its path and the
            hash of its weights.

    Returns:
        Where it was saved.

    Raises:
        ConfigError: there is no router, an expert is missing, or one has other weights than those with which
            the router was trained; or `experts` are given to a router that fuses hidden states.
    """
    runs = pathlib.Path(expand_home(checkpoint_dir))
    folder = runs / ROUTER_RUN if router is None else pathlib.Path(expand_home(router))
    try:
        router_folder = find_model(folder)
    except ModelFolderError:
        raise ConfigError(
            f"there is no trained router in {folder}; first run: highnoon experts train-router"
        ) from None
    recipe = Recipe.load(folder)
    if recipe.objective is None:
        # A fusion of hidden states is trained as a whole, and names its experts itself.
        if experts is not None:
            raise ConfigError(
                f"`experts` must be left out: the router in {folder} fuses hidden states and names its own"
            )
        mixture = hn.load_model(router_folder)
        mixture.contains_experts = contains_experts
    else:
        paths = recipe.objective["experts"] if experts is None else list(experts)
        mixture = MixtureOfModels(paths, str(router_folder), contains_experts)
    target = runs / MIXTURE_FOLDER if output is None else pathlib.Path(expand_home(output))
    return pathlib.Path(hn.save_model(mixture, target))
