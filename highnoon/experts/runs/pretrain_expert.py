"""Trains one expert of a mixture by itself."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import ConfigError, ModelConfig, TrainingConfig
from highnoon.experts.runs.expert_forms import expert_form, run_name, trained_expert
from highnoon.experts.runs.run_tokenizer import has_mask, keep_tokenizer, vocab_size_of
from highnoon.experts.runs.run_with_snapshots import Resuming, run_with_snapshots
from highnoon.files.expand_home import expand_home
from highnoon.models.families import FAMILIES
from highnoon.tokenization import Tokenizer
from highnoon.training.checkpoints.inspection import read_description_or_nothing
from highnoon.training.recipes.recipe import Recipe

_OF_SNAPSHOTS = ("checkpoint_interval", "keep_every")


def pretrain_expert(
    expert: str,
    model: ModelConfig | Mapping[str, Any],
    training: TrainingConfig,
    stage: Mapping[str, Any],
    tokenizer: Tokenizer,
    *,
    checkpoint_dir: str | os.PathLike[str] = "checkpoints",
    objective: Mapping[str, Any] | None = None,
    resuming: Resuming | None = None,
    snapshot_epochs: int = 5,
    dtype: str = "auto",
    callbacks: Sequence[Any] = (),
    **keys: Any,
) -> dict[str, Any]:
    """Trains one expert by an ordinary `Trainer`, with its own head.

    The run is in `checkpoint_dir/EXPERT_expert/`: its recipe, checkpoints, logs, and at its end the model of
    the lowest held-out loss. `EXPERT_expert`, `EXPERT_expert_epoch5`, `EXPERT_expert_interrupted`, each also
    with `.pt`, name its checkpoints wherever a path of a model or a checkpoint is expected.

    Args:
        expert: `"transformer"`, `"state_space"`, `"diffusion"` (block diffusion, which a mixture uses) or
            `"diffuser"` (mean squared error on embeddings of the transformer, which must be trained before).
        model: Its shape; pattern and vocabulary follow from `expert` and `tokenizer`. Of a `diffuser` the
            arguments of `GaussianDiffuser` besides `state_dim`.
        training: How it is trained; `epochs` is the length of the run.
        stage: Its data, as arguments of `Trainer.add_curriculum_stage`: `datasets`, `balance`, ...
        tokenizer: Of all experts, see `run_tokenizer`.
        checkpoint_dir: Folder of the runs of all experts.
        objective: Arguments of the objective; None takes its defaults.
        resuming: None begins a new run.
        snapshot_epochs: Epochs between checkpoints that stay.
        dtype: A dtype policy, or `"auto"`.
        callbacks: More callbacks.
        **keys: Further keys of a `Recipe`, such as `verbose` or `eval_interval`.

    Returns:
        The summary of `Trainer.train`.

    Raises:
        ConfigError: an unknown expert, a value out of its range, the transformer is not trained, or the
            folder has another tokenizer.
        CheckpointError: see `run_with_snapshots`.

    Example:

    ```python
    import pathlib
    import highnoon as hn
    from highnoon.experts.runs import pretrain_expert
    from highnoon.tokenization import ByteTokenizer

    pathlib.Path("data/suns").mkdir(parents=True)
    for number in range(20):
        pathlib.Path(f"data/suns/{number}.txt").write_text(f"{number}: the sun stands high at noon")
    shape = hn.ModelConfig(embedding_dim=8, num_heads=1, num_reasoning_blocks=1, max_seq_length=32)
    training = hn.TrainingConfig(epochs=1, batch_size=4, max_seq_length=32)
    stage = {"datasets": ["data"], "balance": "equal"}
    pretrain_expert("transformer", shape, training, stage, ByteTokenizer(), verbose=False)
    assert hn.load_model("checkpoints/transformer_expert.pt").generate("the ", max_length=1)
    ```
    """
    form, checkpoint_dir = expert_form(expert), str(expand_home(checkpoint_dir))
    objective = dict(objective or {})
    shape = dict(model if isinstance(model, Mapping) else model.to_dict())
    if form.needs is not None:
        needed = trained_expert(form.needs, checkpoint_dir)
        _require_family(expert, str(form.family))
        objective["transformer"] = str(needed)
        shape["state_dim"] = _width_of(form.needs, needed)
    if form.family is None:
        shape |= {"block_pattern": form.pattern, "vocab_size": vocab_size_of(tokenizer), "task": form.task}
    else:
        shape["family"] = form.family
    if form.objective == "block_diffusion" and not has_mask(tokenizer):
        objective["mask_id"] = tokenizer.vocab_size
    recipe = Recipe(
        **run_keys(training, stage, pathlib.Path(checkpoint_dir, run_name(expert)), keys),
        model={**shape, "dtype": dtype},
        objective=None if form.objective is None else {"name": form.objective, **objective},
        tokenizer=str(keep_tokenizer(tokenizer, checkpoint_dir)),
    )
    return run_with_snapshots(recipe, resuming, snapshot_epochs, callbacks)


def run_keys(
    training: TrainingConfig, stage: Mapping[str, Any], output: pathlib.Path, further: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the keys of a recipe that runs of experts and of routers have alike, and `further`."""
    for name in _OF_SNAPSHOTS:
        if name in further:
            raise ConfigError(
                f"`{name}` follows from `snapshot_epochs` and the length of an epoch; leave it out"
            )
    fields = training.to_dict()
    epochs = fields.pop("epochs")
    return {
        "training": fields,
        "stages": [{"name": "train", "epochs": epochs, **stage}],
        "output": str(output),
        "run_name": output.name,
        "restore_best": training.validation_split > 0,
        **further,
    }


def _width_of(expert: str, folder: pathlib.Path) -> int:
    width = (read_description_or_nothing(folder).get("model") or {}).get("embedding_dim")
    if not isinstance(width, int):
        raise ConfigError(
            f"the {expert} in {folder} must say its embedding_dim in config.json, which is damaged; train it "
            "again, or copy the file again"
        )
    return width


def _require_family(expert: str, family: str) -> None:
    if family not in FAMILIES:
        raise ConfigError(
            f"the expert `{expert}` is a model of the family `{family}`, which this version does not have; "
            "train `diffusion`, block diffusion, which is what a mixture uses"
        )
