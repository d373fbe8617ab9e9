"""The shape of the router, under the names of the document."""

from __future__ import annotations

import dataclasses
from typing import Any

from highnoon.compat.expert_config import with_documented_names
from highnoon.compat.expert_shapes import ExpertModelConfig, ExpertShape
from highnoon.config.fields import setting, size
from highnoon.config.model_config import MAX_BLOCKS


@with_documented_names
@dataclasses.dataclass(frozen=True)
class MLAConfig(ExpertShape):
    """The router: a causal trunk of latent attention, and a weight for each expert.

    Args:
        d_model: Width of the trunk; None takes that of `ExpertModelConfig`.
        dropout: Rate, in [0, 1); None takes that of `ExpertModelConfig`.
        n_experts: Experts, at least 2.
        n_heads: Heads of latent attention, each of `d_model / n_heads`.
        n_layers: Layers of the trunk.
        kv_latent_dim: Size of the latent that a token keeps in the cache; None takes two head sizes.
        inference_steps: Steps in which a `diffuser` denoises, at most its `training_steps`. No effect on a
            mixture of distributions.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_configs import MLAConfig
    from highnoon.experts import ExpertRouter

    router = ExpertRouter(**MLAConfig(d_model=24).router_arguments(vocab_size=263))
    assert router.num_experts == 3
    ```
    """

    n_experts: int = setting(3, least=2, most=1024)
    n_heads: int = size(6)
    n_layers: int = setting(1, least=1, most=MAX_BLOCKS)
    kv_latent_dim: int | None = size(None)
    inference_steps: int = setting(10, least=1, most=1_000_000)

    def router_arguments(
        self, shared: ExpertModelConfig | None = None, vocab_size: int | None = None
    ) -> dict[str, Any]:
        """Returns the arguments of `highnoon.experts.ExpertRouter`."""
        return {
            **self.shared_fields(ExpertModelConfig() if shared is None else shared, vocab_size),
            "num_experts": self.n_experts,
            "num_heads": self.n_heads,
            "num_reasoning_blocks": self.n_layers,
            "kv_lora_rank": self.kv_latent_dim,
        }
