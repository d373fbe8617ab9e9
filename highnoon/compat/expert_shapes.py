"""The shapes of the experts, under the names of the document."""

from __future__ import annotations

import dataclasses
from typing import Any

from highnoon.compat.expert_config import ExpertConfig, with_documented_names
from highnoon.config import ConfigError, ModelConfig, require_count, shown
from highnoon.config.fields import setting, size
from highnoon.config.model_config import MAX_BLOCKS


@with_documented_names
@dataclasses.dataclass(frozen=True)
class ExpertModelConfig(ExpertConfig):
    """Dimensions that all experts share; the document's `ModelConfig`.

    Args:
        d_model: Width of the residual stream.
        max_seq_len: Longest sequence in tokens, and the row length of training.
        n_heads: Heads of attention.
        head_dim: Size of one head, even; None takes `d_model / n_heads`.
        dropout: Rate on each residual branch, in [0, 1).
        vocab_size: Token ids; None takes the tokenizer's.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_configs import ModelConfig, TransformerConfig

    model = TransformerConfig(n_layers=2).to_model_config(ModelConfig(), vocab_size=263)
    assert (model.embedding_dim, model.resolved_head_dim, model.ffn_dim) == (384, 64, 1536)
    ```
    """

    d_model: int = size(384)
    max_seq_len: int = size(512)
    n_heads: int = size(6)
    head_dim: int | None = size(None)
    dropout: float = setting(0.1, least=0, below=1)
    vocab_size: int | None = size(None)


@dataclasses.dataclass(frozen=True)
class ExpertShape(ExpertConfig):
    """The fields of every shape; None takes the value of `ExpertModelConfig`."""

    d_model: int | None = size(None)
    dropout: float | None = setting(None, least=0, below=1)

    def shared_fields(self, shared: ExpertModelConfig, vocab_size: int | None) -> dict[str, Any]:
        """Returns the fields of `highnoon.config.ModelConfig` that do not depend on the kind of expert."""
        ids = shared.vocab_size if vocab_size is None else vocab_size
        if ids is None:
            raise ConfigError("`vocab_size` must be the tokenizer's; received None; give it")
        return {
            "vocab_size": ids,
            "max_seq_length": shared.max_seq_len,
            "embedding_dim": shared.d_model if self.d_model is None else self.d_model,
            "dropout": shared.dropout if self.dropout is None else self.dropout,
        }


@with_documented_names
@dataclasses.dataclass(frozen=True)
class TransformerConfig(ExpertShape):
    """The transformer expert: causal attention and a gated feed-forward in each layer.

    Args:
        d_model: Width; None takes that of `ExpertModelConfig`.
        dropout: Rate, in [0, 1); None takes that of `ExpertModelConfig`.
        n_heads: Heads; None takes those of `ExpertModelConfig`.
        head_dim: Size of one head, even; None takes that of `ExpertModelConfig`.
        n_layers: Layers.
        ffn_mult: Inner width of the feed-forward as a multiple of `d_model`.
        rope_base: Base wavelength of rotary positions.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_configs import TransformerConfig

    assert TransformerConfig(n_layers=2).to_model_config(vocab_size=263).num_reasoning_blocks == 2
    ```
    """

    n_heads: int | None = size(None)
    head_dim: int | None = size(None)
    n_layers: int = setting(6, least=1, most=MAX_BLOCKS)
    ffn_mult: int = setting(4, least=1, most=1024)
    rope_base: float = setting(10000.0, above=0)

    def to_model_config(
        self, shared: ExpertModelConfig | None = None, vocab_size: int | None = None
    ) -> ModelConfig:
        """Returns the expert as a model of this package.

        Args:
            shared: Dimensions of all experts; None takes the defaults.
            vocab_size: Token ids; None takes those of `shared`.

        Raises:
            ConfigError: no vocabulary, or sizes that do not fit together.
        """
        shared = ExpertModelConfig() if shared is None else shared
        fields = self.shared_fields(shared, vocab_size)
        return ModelConfig(
            **fields,
            num_heads=shared.n_heads if self.n_heads is None else self.n_heads,
            head_dim=shared.head_dim if self.head_dim is None else self.head_dim,
            block_pattern="attention+mlp",
            num_reasoning_blocks=self.n_layers,
            ffn_dim=self.ffn_mult * fields["embedding_dim"],
            rope_theta=self.rope_base,
        )


@with_documented_names
@dataclasses.dataclass(frozen=True)
class DiffuserConfig(TransformerConfig):
    """The expert that removes noise: `diffusion` in masked tokens, `diffuser` in hidden states.

    Args:
        d_model: Width; None takes that of `ExpertModelConfig`.
        dropout: Rate, in [0, 1); None takes that of `ExpertModelConfig`.
        n_heads: Heads; None takes those of `ExpertModelConfig`.
        head_dim: Size of one head, even; None takes that of `ExpertModelConfig`. No effect on the `diffuser`.
        n_layers: Layers.
        ffn_mult: Inner width of the feed-forward as a multiple of `d_model`.
        rope_base: Base wavelength of rotary positions. No effect on the `diffuser`.
        training_steps: Noise levels of the `diffuser`. No effect on `diffusion`, whose noise is continuous.
        block_sizes: Block lengths of `diffusion`, in tokens. No effect on the `diffuser`.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_configs import DiffuserConfig

    assert DiffuserConfig().to_model_config(vocab_size=263).num_reasoning_blocks == 4
    assert DiffuserConfig(block_sizes=[1, 4]).to_objective()["block_sizes"] == [1, 4]
    ```
    """

    n_layers: int = setting(4, least=1, most=MAX_BLOCKS)
    training_steps: int = setting(100, least=2, most=1_000_000)
    block_sizes: tuple[int, ...] = (1, 4, 8, 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.block_sizes, (list, tuple)) or not self.block_sizes:
            raise ConfigError(f"`block_sizes` must be a list of integers; received {shown(self.block_sizes)}")
        sizes = tuple(require_count("block_sizes", number) for number in self.block_sizes)
        object.__setattr__(self, "block_sizes", sizes)

    def to_objective(self) -> dict[str, Any]:
        """Returns the objective of `diffusion`, by name."""
        return {"name": "block_diffusion", "block_sizes": list(self.block_sizes)}

    def diffuser_arguments(self, shared: ExpertModelConfig | None = None) -> dict[str, Any]:
        """Returns arguments of the `diffuser`, a model of Gaussian diffusion, besides its `state_dim`.

        `head_dim` and `rope_base` have no effect on it: a head is `d_model / n_heads` wide.

        Args:
            shared: Dimensions of all experts; None takes the defaults.
        """
        model = self.to_model_config(shared, 1)
        names = ("embedding_dim", "num_reasoning_blocks", "max_seq_length", "num_heads", "ffn_dim", "dropout")
        return {**{name: getattr(model, name) for name in names}, "training_steps": self.training_steps}


@with_documented_names
@dataclasses.dataclass(frozen=True)
class StateSpaceConfig(ExpertShape):
    """The state-space expert: a selective state space (S6) in each layer, and nothing between them.

    Args:
        d_model: Width; None takes that of `ExpertModelConfig`.
        dropout: Rate, in [0, 1); None takes that of `ExpertModelConfig`.
        n_layers: Layers.
        d_state: Size of the state of each channel.
        d_inner: Channels, a multiple of `d_model`; None takes `2 * d_model`.
        d_conv: Positions that the convolution covers.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_configs import StateSpaceConfig

    assert StateSpaceConfig().to_model_config(vocab_size=263).ssm_inner_dim == 768
    ```
    """

    n_layers: int = setting(6, least=1, most=MAX_BLOCKS)
    d_state: int = size(16)
    d_inner: int | None = size(None)
    d_conv: int = size(4)

    def to_model_config(
        self, shared: ExpertModelConfig | None = None, vocab_size: int | None = None
    ) -> ModelConfig:
        """Returns the expert as a model of this package; see `TransformerConfig.to_model_config`."""
        fields = self.shared_fields(ExpertModelConfig() if shared is None else shared, vocab_size)
        width = fields["embedding_dim"]
        inner = 2 * width if self.d_inner is None else self.d_inner
        if inner % width:
            raise ConfigError(f"`d_inner` must be a multiple of d_model={width}; received {inner}")
        return ModelConfig(
            **fields,
            block_pattern="mamba",
            num_reasoning_blocks=self.n_layers,
            state_dim=self.d_state,
            ssm_expand=inner // width,
            conv_kernel_size=self.d_conv,
        )
