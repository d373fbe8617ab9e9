"""From a trained dense model to a mixture of experts that computes the same at first."""

from __future__ import annotations

from typing import Any

from highnoon.config import Config, ConfigError, ModelConfig, override
from highnoon.layers import MoELayer
from highnoon.models.backbone import ReasoningBackbone
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.parts import BoundPart
from highnoon.models.parts.moe import MixtureOfExperts
from highnoon.models.patterns import bind_pattern


def upcycle(
    model: LanguageModel,
    num_experts: int = 8,
    num_experts_per_tok: int = 2,
    block_pattern: str | None = None,
    **fields: Any,
) -> LanguageModel:
    """Returns a new model whose experts are copies of a dense model's feed-forwards.

    Every weight is copied; only the routers are new. A token's gates add up to 1 and its experts are equal,
    so the new model gives the dense one's logits until it is trained; then the experts diverge, since
    different tokens choose them.

    Args:
        model: A model with `mlp` in its pattern; it does not change.
        num_experts: Copies of each feed-forward, at least 2.
        num_experts_per_tok: Experts that each token passes.
        block_pattern: The new pattern: the old one with `moe` in place of some `mlp`; None replaces every
            `mlp`.
        **fields: How tokens choose experts, fields of `ModelConfig`: `router_type`, `num_expert_groups`,
            `num_groups_per_tok`, `bias_update_rate`, `capacity_factor`, `aux_loss_weight`,
            `router_z_loss_weight`, `load_entropy_weight`.

    Raises:
        ConfigError: a pattern without experts, or a field with which the new model would not
            start from the dense one's logits.

    Example:

    ```python
    import numpy as np
    import highnoon as hn
    from highnoon.models import upcycle

    dense = hn.create_model("highnoon-nano", block_pattern="transformer")
    sparse = upcycle(dense, num_experts=4)
    ids = np.array([[2, 7, 9]])
    assert np.allclose(dense(ids), sparse(ids), atol=1e-4)
    ```

    Komatsuzaki et al. 2022, Sparse Upcycling (arXiv:2212.05055), section 3, with gates that add up to 1.
    """
    _require_dense(model)
    pattern = block_pattern or _with_experts(model.config)
    width = model.config.resolved_ffn_dim
    _require_equal_start(num_experts, fields)
    config = override(
        Config(model=model.config),
        block_pattern=pattern,
        num_moe_experts=num_experts,
        num_experts_per_tok=num_experts_per_tok,
        ffn_dim=width,
        expert_dim=width,
        normalize_gates=True,
        routed_scale=1.0,
        num_shared_experts=0,
        **fields,
    ).model
    _require_same_stack(model.config, config)
    sparse = LanguageModel(
        config=config,
        dtype=model.backbone.dtype_policy,
        training_config=model.training_config,
        tokenizer=model.tokenizer,
    )
    _copy_weights(model.backbone, sparse.backbone)
    return sparse


_GROUPS = (
    "mixers",
    "mixer_norms",
    "mixer_post_norms",
    "feed_forward_norms",
    "feed_forwards",
    "feed_forward_post_norms",
)


def _with_experts(config: ModelConfig) -> str:
    """The pattern with `moe` for every `mlp`, each expert as wide as the dense feed-forward."""
    entries = []
    for mixer, part in bind_pattern(config):
        width = part and part.config.resolved_ffn_dim
        expert = "moe" if width == config.resolved_ffn_dim else f"moe(expert_dim={width})"
        entries.append("+".join(filter(None, [mixer.text, expert if _is_mlp(part) else part and part.text])))
    return ", ".join(entries)


def _is_mlp(part: BoundPart | None) -> bool:
    return part is not None and part.name == "mlp"


def _require_dense(model: LanguageModel) -> None:
    names = [part.name for _, part in bind_pattern(model.config) if part is not None]
    if "moe" in names or "mlp" not in names:
        raise ConfigError(
            "`upcycle` takes a model whose feed-forwards are dense (`mlp`); received one with block_pattern="
            f"{model.config.block_pattern!r}"
        )
    for _, part in bind_pattern(model.config):
        if part is not None and part.name == "mlp" and not _is_swiglu(part.config):
            raise ConfigError(
                "`upcycle` copies feed-forwards into experts, which are SwiGLU without biases; received "
                f"ffn_activation={part.config.ffn_activation!r} and ffn_bias={part.config.ffn_bias}"
            )
    is_changed = any(
        getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False)
        for layer in model._flatten_layers()
    )
    if is_changed:
        raise ConfigError("`upcycle` takes plain weights; received a model with LoRA or quantized weights")


def _is_swiglu(config: ModelConfig) -> bool:
    return config.ffn_activation == "silu" and not config.ffn_bias


def _require_same_stack(dense: ModelConfig, sparse: ModelConfig) -> None:
    old, new = bind_pattern(dense), bind_pattern(sparse)
    fits = len(old) == len(new) and all(
        before.text == after.text and _may_become(former, part)
        for (before, former), (after, part) in zip(old, new, strict=True)
    )
    if not fits or "moe" not in [part.name for _, part in new if part is not None]:
        raise ConfigError(
            f"`block_pattern` must be {dense.block_pattern!r} with `moe` in place of one `mlp` or more, such "
            f"as {_with_experts(dense)!r}; received {sparse.block_pattern!r}"
        )


def _may_become(former: BoundPart | None, part: BoundPart | None) -> bool:
    """Whether a feed-forward is the same, or experts that can start as copies of it."""
    if former is None or part is None or part.name != "moe":
        return (former and former.text) == (part and part.text)
    return _is_mlp(former) and (
        part.config.resolved_expert_dim == former.config.resolved_ffn_dim
        and part.config.normalize_gates
        and part.config.routed_scale == 1.0
        and part.config.num_shared_experts == 0
        and part.config.router_type != "causal_expert_choice"
    )


def _require_equal_start(num_experts: int, fields: dict[str, Any]) -> None:
    if num_experts < 2:
        raise ConfigError(f"`num_experts` must be at least 2; received {num_experts}")
    allowed = MixtureOfExperts.upcycling_fields
    wrong = [name for name in fields if name not in allowed]
    if wrong:
        raise ConfigError(f"`{wrong[0]}` follows from the dense model; `upcycle` takes {', '.join(allowed)}")
    if fields.get("router_type") == "causal_expert_choice":
        raise ConfigError(
            '`router_type="causal_expert_choice"` leaves tokens without an expert, so that the new model '
            "would not start from the dense one's logits; take another router"
        )


def _copy_weights(dense: ReasoningBackbone, sparse: ReasoningBackbone) -> None:
    sparse.token_embedding.set_weights(dense.token_embedding.get_weights())
    if dense.final_norm is not None:
        sparse.final_norm.set_weights(dense.final_norm.get_weights())
    if dense.learned_positions is not None:
        sparse.learned_positions.set_weights(dense.learned_positions.get_weights())
    for ours, theirs in zip(sparse.reasoning_blocks, dense.reasoning_blocks, strict=True):
        for group in _GROUPS:
            for new, old in zip(getattr(ours, group), getattr(theirs, group), strict=True):
                if isinstance(new, MoELayer):
                    MixtureOfExperts().copy_dense(old, new)
                else:
                    new.set_weights(old.get_weights())
