"""Which experts a fusion of hidden states can have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from highnoon.config import ConfigError
from highnoon.experts.diffuser.gaussian_diffuser import GaussianDiffuser
from highnoon.experts.diffuser.noise_schedule import sampling_steps as spaced_steps
from highnoon.experts.expert_states import require_states, state_width


def require_fusible(
    experts: Sequence[keras.Model],
    transformer: int,
    sampling_steps: int,
    hashes: Callable[[], Sequence[str]],
) -> None:
    """Checks that the hidden states of some experts can be fused.

    Args:
        experts: Language models, and at most one `GaussianDiffuser`.
        transformer: Index of the expert whose states a diffuser denoises.
        sampling_steps: Steps of DDIM.
        hashes: Returns the hashes of the experts' weights; called only for a diffuser that knows its
            transformer.

    Raises:
        ConfigError: an expert has no causal hidden states, `transformer` is no language model, or a diffuser
            was trained with another one or with fewer steps.
    """
    diffusers = [number for number, expert in enumerate(experts) if isinstance(expert, GaussianDiffuser)]
    for number, expert in enumerate(experts):
        if number not in diffusers:
            require_states(expert, f"experts[{number}]")
    if transformer >= len(experts) or transformer in diffusers:
        raise ConfigError(
            f"`transformer` must be the index of a language model among the experts; received {transformer}"
        )
    if len(diffusers) > 1:
        raise ConfigError(f"there must be at most one diffuser; received `experts` {diffusers}")
    for number in diffusers:
        spaced_steps(experts[number].training_steps, sampling_steps)
        _require_transformer(experts, number, transformer, hashes)


def _require_transformer(
    experts: Sequence[keras.Model], number: int, transformer: int, hashes: Callable[[], Sequence[str]]
) -> None:
    """Checks that a diffuser was trained with the transformer."""
    width = state_width(experts[transformer])
    if experts[number].state_dim != width:
        raise ConfigError(
            f"`experts[{number}]` must have the state_dim={width} of `experts[{transformer}]`; received "
            f"{experts[number].state_dim}; give the transformer that it was trained with"
        )
    trained = (getattr(experts[number], "outputs_description", None) or {}).get("transformer_hash")
    if trained is not None and trained != hashes()[transformer]:
        raise ConfigError(
            f"`experts[{transformer}]` must have weights {trained}, with which the diffuser "
            f"`experts[{number}]` was trained; received {hashes()[transformer]}; give that transformer, or "
            "train the diffuser again"
        )
