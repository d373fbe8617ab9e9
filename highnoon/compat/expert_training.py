"""Trains experts and their router from the configuration classes of the expert mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from highnoon.compat.expert_configs import SECTIONS_OF, ExpertConfigs
from highnoon.config import ConfigError, require_flag
from highnoon.files.nearest_name import unknown_name
from highnoon.files.print_text import print_text

if TYPE_CHECKING:
    from highnoon.compat.expert_runs import TrainExpertConfig
    from highnoon.experts.runs import Resuming

EXPERTS = tuple(name for name in SECTIONS_OF if name != "router")
"""The experts that can be trained by name."""


def pretrain_configured(
    expert: str,
    configs: ExpertConfigs | None = None,
    *,
    resuming: Resuming | None = None,
    callbacks: Sequence[Any] = (),
    verbose: bool = True,
) -> dict[str, Any]:
    """Trains one expert; see `highnoon.experts.runs.pretrain_expert`.

    Args:
        expert: `"transformer"`, `"state_space"`, `"diffusion"` or `"diffuser"`.
        configs: All configurations; None takes the defaults.
        resuming: None begins a new run.
        callbacks: More callbacks.
        verbose: Whether to print the plan and show progress.

    Returns:
        The summary of `Trainer.train`.

    Raises:
        ConfigError: as `pretrain_expert`.
        CheckpointError: as `pretrain_expert`.
    """
    from highnoon.experts.runs import pretrain_expert, run_tokenizer
    from highnoon.experts.runs.expert_forms import expert_form, trained_expert

    configs = ExpertConfigs() if configs is None else configs
    if expert not in EXPERTS:
        raise ConfigError(unknown_name("expert", expert, EXPERTS))
    _, shape_section, training_section, _ = SECTIONS_OF[expert]
    shape, training = getattr(configs, shape_section), getattr(configs, training_section)
    if (needed := expert_form(expert).needs) is not None:
        trained_expert(needed, training.checkpoint_dir, configs.data.data_dir)
    stage = configs.data.stage_arguments()
    tokenizer = run_tokenizer(
        configs.data.tokenizer,
        training.checkpoint_dir,
        stage,
        vocab_size=configs.model.vocab_size,
        validation_split=configs.data.val_split,
    )
    is_diffuser = expert == "diffuser"
    return pretrain_expert(
        expert,
        shape.diffuser_arguments(configs.model)
        if is_diffuser
        else shape.to_model_config(configs.model, tokenizer.vocab_size),
        training.to_training_config(configs.model.max_seq_len, configs.data),
        stage,
        tokenizer,
        objective={"block_sizes": list(shape.block_sizes)} if expert == "diffusion" else None,
        resuming=resuming,
        callbacks=callbacks,
        **_run_arguments(training, verbose=verbose),
    )


def train_configured_router(
    configs: ExpertConfigs | None = None,
    *,
    experts: Sequence[str] | None = None,
    fusion: str = "distributions",
    use_vector_store: bool = False,
    resuming: Resuming | None = None,
    callbacks: Sequence[Any] = (),
    verbose: bool = True,
) -> dict[str, Any]:
    """Trains the router over trained experts; see `highnoon.experts.runs.train_router`.

    Args:
        configs: All configurations; None takes the defaults.
        experts: Names of trained experts, or paths of models; None as in `train_router`.
        fusion: `"distributions"` or `"hidden"`.
        use_vector_store: Whether to build a memory of the training text for the transformer as well, and to
            measure it, see `highnoon.experts.runs.build_vector_store`.
        resuming: None begins a new run.
        callbacks: More callbacks.
        verbose: Whether to print the plan and show progress.

    Returns:
        The summary of `Trainer.train`; with a vector store also `vector_store`, what it gained.

    Raises:
        ConfigError: as `train_router`.
        CheckpointError: as `train_router`.
    """
    from highnoon.experts.runs import build_vector_store, train_router

    require_flag("use_vector_store", use_vector_store)
    configs = ExpertConfigs() if configs is None else configs
    training, stage = configs.train_mla, configs.data.stage_arguments()
    if use_vector_store:
        _require_stored(configs)
    summary = train_router(
        # The vocabulary is that of the experts.
        configs.mla.router_arguments(configs.model, 1),
        training.to_training_config(configs.model.max_seq_len, configs.data),
        stage,
        experts=experts,
        entropy_reg=training.entropy_reg,
        fusion=fusion,
        sampling_steps=configs.mla.inference_steps,
        resuming=resuming,
        callbacks=callbacks,
        **_run_arguments(training, verbose=verbose),
    )
    if not use_vector_store:
        return summary
    try:
        found = build_vector_store(
            stage, checkpoint_dir=training.checkpoint_dir, validation_split=configs.data.val_split
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the router is saved, its vector store is not") from None
    if verbose:
        print_text(
            f"vector store of the transformer: held-out loss {found.loss:.4f} with it, "
            f"{found.loss_without:.4f} without, on {found.num_tokens:,} tokens; weight {found.mix.weight}"
        )
    return {**summary, "vector_store": found}


def _require_stored(configs: ExpertConfigs) -> None:
    """Checks before the training what the vector store needs after it."""
    from highnoon.experts.runs.expert_forms import trained_expert

    trained_expert("transformer", configs.train_mla.checkpoint_dir, configs.data.data_dir)
    if configs.data.val_split == 0:
        raise ConfigError(
            "`val_split` must be above 0 for `use_vector_store`, which is measured on held-out documents; "
            "received 0"
        )


def _run_arguments(training: TrainExpertConfig, *, verbose: bool) -> dict[str, Any]:
    """The arguments that both functions pass on."""
    from highnoon.models.dtypes import amp_policy

    policy, note = amp_policy(training.use_amp, training.amp_dtype)
    if note is not None and verbose:
        print_text(note)
    return {
        **training.train_arguments(),
        "snapshot_epochs": training.snapshot_epochs,
        "dtype": policy,
        "verbose": verbose,
    }
