"""Trains the router over experts that were trained before."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from highnoon.config import ConfigError, TrainingConfig, require_choice, require_texts
from highnoon.experts.diffuser.gaussian_diffuser import GaussianDiffuser
from highnoon.experts.runs.expert_forms import FORMS, FUSED, MIXED, ROUTER_RUN, trained_expert
from highnoon.experts.runs.pretrain_expert import run_keys
from highnoon.experts.runs.run_tokenizer import TOKENIZER_FOLDER
from highnoon.experts.runs.run_with_snapshots import Resuming, run_with_snapshots
from highnoon.experts.shared_tokenizer import require_tokenizer
from highnoon.files.expand_home import expand_home
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.models.families import FAMILIES
from highnoon.models.find_model import find_model
from highnoon.models.saving import ModelFolderError
from highnoon.tokenization import load_tokenizer
from highnoon.training.checkpoints.checkpoint import CheckpointError, read_state
from highnoon.training.checkpoints.inspection import read_description_or_nothing
from highnoon.training.frozen_model import FrozenModel
from highnoon.training.recipes.recipe import Recipe

FUSIONS = ("distributions", "hidden")
HIDDEN_FAMILY = "expert_hidden_fusion"
_NO_DISTRIBUTION = (
    "predicts hidden states and no distribution, so it cannot be mixed; give diffusion, or --fusion hidden"
)


class TrainedExperts(NamedTuple):
    """Experts that were trained with one tokenizer.

    Attributes:
        paths: Of their models.
        hashes: Of their weights.
        vocab_size: Token ids of all.
        max_seq_length: The shortest context.
    """

    paths: list[str]
    hashes: list[str]
    vocab_size: int
    max_seq_length: int


def train_router(
    router: Mapping[str, Any],
    training: TrainingConfig,
    stage: Mapping[str, Any],
    *,
    experts: Sequence[str] | None = None,
    entropy_reg: float = 0.01,
    fusion: str = "distributions",
    sampling_steps: int = 10,
    checkpoint_dir: str | os.PathLike[str] = "checkpoints",
    resuming: Resuming | None = None,
    snapshot_epochs: int = 5,
    dtype: str = "auto",
    callbacks: Sequence[Any] = (),
    **keys: Any,
) -> dict[str, Any]:
    """Trains a router by an ordinary `Trainer`, with the objective `mixture`; no expert changes.

    The run is in `checkpoint_dir/nanothink_mla/`, with names of checkpoints as in `pretrain_expert`.
    A checkpoint holds the router alone, and names its experts by the hash of their weights.

    Args:
        router: Arguments of `ExpertRouter` besides `vocab_size` and `tokenizer`.
        training: How it is trained; `epochs` is the length of the run.
        stage: Its data, as arguments of `Trainer.add_curriculum_stage`.
        experts: Names of trained experts, or paths of models of any family, at least two. None takes
            transformer, state_space and diffusion, or for hidden states the diffuser in place of the last.
        entropy_reg: Weight of the reward for an even load, at least 0, see `MixtureObjective`.
        fusion: `"distributions"` mixes what the experts predict; `"hidden"` fuses their hidden states.
        sampling_steps: Steps in which a diffuser denoises, see `HiddenFusion`. No effect on distributions.
        checkpoint_dir: Folder of the runs.
        resuming: None begins a new run.
        snapshot_epochs: Epochs between checkpoints that stay.
        dtype: A dtype policy, or `"auto"`.
        callbacks: More callbacks.
        **keys: Further keys of a `Recipe`, such as `verbose` or `eval_interval`.

    Returns:
        The summary of `Trainer.train`.

    Raises:
        ConfigError: an expert is missing, has another tokenizer, or a value is out of its range.
        CheckpointError: see `run_with_snapshots`; or an expert has changed since.
    """
    require_choice("fusion", fusion, FUSIONS)
    if fusion == "hidden" and HIDDEN_FAMILY not in FAMILIES:
        raise ConfigError(
            f"`fusion` hidden needs the model family `{HIDDEN_FAMILY}`, which this version does not have; "
            "give distributions"
        )
    checkpoint_dir = str(expand_home(checkpoint_dir))
    names = experts if experts is not None else (MIXED if fusion == "distributions" else FUSED)
    found = read_experts(names, checkpoint_dir, may_be_states=fusion == "hidden")
    if router.get("num_experts", len(found.paths)) != len(found.paths):
        raise ConfigError(
            f"`num_experts` (--n_experts) must be {len(found.paths)}, as there are experts; received "
            f"{router['num_experts']}"
        )
    output = pathlib.Path(checkpoint_dir, ROUTER_RUN)
    mixes = fusion == "distributions"
    options = {"entropy_reg": entropy_reg, "sampling_steps": sampling_steps}
    model = _router(router, found) if mixes else _fusion(router, found, options)
    recipe = Recipe(
        **run_keys(training, stage, output, keys),
        model={**model, "dtype": dtype},
        objective={"name": "mixture", "entropy_reg": entropy_reg, **_experts(found)} if mixes else None,
        tokenizer=str(pathlib.Path(checkpoint_dir, TOKENIZER_FOLDER)),
    )
    may_change = resuming is not None and resuming.allow_plan_change
    require_fit = None if may_change else functools.partial(_require_same_experts, found)
    return run_with_snapshots(recipe, resuming, snapshot_epochs, callbacks, require_fit)


def _experts(found: TrainedExperts) -> dict[str, Any]:
    return {"experts": found.paths, "expert_hashes": found.hashes}


def _router(router: Mapping[str, Any], found: TrainedExperts) -> dict[str, Any]:
    """The keys of a new `ExpertRouter`."""
    length = min(found.max_seq_length, router.get("max_seq_length", found.max_seq_length))
    own = {"num_experts": len(found.paths), "vocab_size": found.vocab_size, "max_seq_length": length}
    return {"family": "expert_router", **router, **own}


def _fusion(router: Mapping[str, Any], found: TrainedExperts, options: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a new `HiddenFusion`, whose router has the width and the context of the experts."""
    own = ("num_experts", "vocab_size", "max_seq_length", "embedding_dim")
    fields = {name: value for name, value in router.items() if name not in own}
    named = {**_experts(found), "contains_experts": False}
    return {"family": HIDDEN_FAMILY, **fields, **named, **options}


def read_experts(
    experts: Sequence[str], checkpoint_dir: str, *, may_be_states: bool = False
) -> TrainedExperts:
    """Returns what a router must know of its experts; one of them is in memory at a time.

    Args:
        experts: Names of trained experts, or paths of models.
        checkpoint_dir: Folder of the runs, and of their tokenizer.
        may_be_states: Whether an expert may predict hidden states in place of tokens.

    Raises:
        ConfigError: an expert is missing, has another tokenizer or vocabulary, or there are fewer than two.
    """
    names = require_texts("experts", experts)
    paths = [_expert_path(name, checkpoint_dir, may_be_states=may_be_states) for name in names]
    tokenizer_folder = pathlib.Path(checkpoint_dir, TOKENIZER_FOLDER)
    tokenizer = load_tokenizer(tokenizer_folder)
    hashes, sizes, lengths = [], {}, []
    for name, frozen in zip(names, FrozenModel.read_all(paths, None), strict=True):
        require_tokenizer(frozen.model, tokenizer, name, str(tokenizer_folder))
        # A diffuser has states in place of token ids.
        is_of_states = isinstance(frozen.model, GaussianDiffuser)
        if is_of_states and not may_be_states:
            raise ConfigError(f"`{name}` {_NO_DISTRIBUTION}")
        model = frozen.model if is_of_states else decoding_model(frozen.model)
        hashes.append(frozen.hash)
        lengths.append(int(model.max_seq_length))
        if not is_of_states:
            sizes[name] = int(model.vocab_size)
        frozen.release()
    if not sizes:
        raise ConfigError(
            f"`experts` must have a language model; received {', '.join(names)}: diffusers alone"
        )
    first = next(iter(sizes))
    for name, size in sizes.items():
        if size != sizes[first]:
            raise ConfigError(
                f"`{name}` must have the vocab_size={sizes[first]:,} of `{first}`; received {size:,}; train "
                "every expert with one vocabulary"
            )
    return TrainedExperts(paths, hashes, sizes[first], min(lengths))


def _expert_path(name: str, checkpoint_dir: str, *, may_be_states: bool) -> str:
    if name == "diffuser" and not may_be_states:
        raise ConfigError(f"`diffuser` {_NO_DISTRIBUTION}")
    if name in FORMS:
        return str(trained_expert(name, checkpoint_dir))
    try:
        return str(find_model(name))
    except ModelFolderError as error:
        raise ConfigError(f"there is no expert `{name}`: {error}") from None


def _require_same_experts(found: TrainedExperts, checkpoint: pathlib.Path) -> None:
    """Refuses to resume over experts that have changed."""
    hashes = _hashes_in(checkpoint)
    if len(hashes) != len(found.hashes):
        raise CheckpointError(
            f"there must be {len(hashes)} experts, with which the router's run began; received "
            f"{len(found.hashes)}; give those of before, or begin without --resume"
        )
    for path, now, then in zip(found.paths, found.hashes, hashes, strict=True):
        if now != then:
            raise CheckpointError(
                f"the expert at {path} must have weights {then}, with which the router's run began; received "
                f"{now}, so it has changed; give the expert of before, or begin without --resume"
            )


def _hashes_in(checkpoint: pathlib.Path) -> list[str]:
    """Returns the hashes of the experts with which the run of a checkpoint began."""
    objective = read_state(checkpoint)["stages"][0].get("objective") or {}
    if "expert_hashes" in objective:
        return list(objective["expert_hashes"] or ())
    # A fusion of hidden states names its experts itself.
    described = read_description_or_nothing(checkpoint).get("experts") or ()
    return [str(expert.get("hash")) for expert in described]
