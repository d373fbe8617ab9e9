"""The experts that `pretrain_expert` trains by name."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
from typing import Any

from highnoon.config import ConfigError
from highnoon.files.nearest_name import unknown_name
from highnoon.models.find_model import find_model
from highnoon.models.saving import ModelFolderError

ROUTER_RUN = "nanothink_mla"
"""Name of the router's run in a folder of checkpoints."""


@dataclasses.dataclass(frozen=True)
class ExpertForm:
    """What kind of model an expert is.

    Args:
        pattern: Block pattern of a language model; None for a model of another family.
        family: The family of the model where it is no language model.
        objective: What its training minimizes; None for the next token.
        needs: The expert that must be trained before.
        task: What `create_model` makes the model for.
    """

    pattern: str | None = None
    family: str | None = None
    objective: str | None = None
    needs: str | None = None
    task: str = "generation"


FORMS = {
    "transformer": ExpertForm("attention+mlp"),
    "state_space": ExpertForm("mamba"),
    "diffusion": ExpertForm("attention+mlp", objective="block_diffusion", task="block_diffusion"),
    "diffuser": ExpertForm(family="gaussian_diffuser", objective="gaussian_diffusion", needs="transformer"),
}
MIXED = ("transformer", "state_space", "diffusion")
"""The experts of a mixture of distributions, in their order."""
FUSED = ("transformer", "state_space", "diffuser")
"""The experts of a fusion of hidden states, in their order."""


def expert_form(expert: str) -> ExpertForm:
    """Returns the form of an expert.

    Raises:
        ConfigError: no expert has this name.
    """
    if expert not in FORMS:
        raise ConfigError(unknown_name("expert", str(expert), FORMS))
    return FORMS[expert]


def run_name(expert: str) -> str:
    """Returns the name of an expert's run, and of its folder."""
    return f"{expert}_expert"


def trained_expert(expert: str, checkpoint_dir: str, data_dir: Any = None) -> pathlib.Path:
    """Returns the folder of a trained expert's model: of its run's end, else its best checkpoint.

    Args:
        expert: Its name.
        checkpoint_dir: Folder of the runs.
        data_dir: Of the data, for the command in the error; None leaves it out.

    Raises:
        ConfigError: it is not trained; the error has the command to run first.
    """
    folder = pathlib.Path(checkpoint_dir, run_name(expert))
    try:
        return find_model(folder)
    except ModelFolderError:
        words = ["highnoon", "experts", "pretrain", "--expert", expert]
        words += [] if data_dir is None else ["--data_dir", str(data_dir)]
        words += [] if checkpoint_dir == "checkpoints" else ["--checkpoint_dir", checkpoint_dir]
        raise ConfigError(
            f"there is no trained {expert} in {folder}; first run: {shlex.join(words)}"
        ) from None
