"""From a trained dense model to a mixture of experts that starts where the dense one stands."""

from __future__ import annotations

from typing import Any

from keras import ops

from highnoon.config import Config, ConfigError, override
from highnoon.layers import GatedFeedForward, MoELayer
from highnoon.models.backbone import ReasoningBackbone
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.patterns import parse_pattern

_FIELDS = (
    "router_type",
    "num_expert_groups",
    "num_groups_per_tok",
    "bias_update_rate",
    "capacity_factor",
    "aux_loss_weight",
    "router_z_loss_weight",
    "load_entropy_weight",
)


def upcycle(
    model: LanguageModel,
    num_experts: int = 8,
    num_experts_per_tok: int = 2,
    block_pattern: str | None = None,
    **fields: Any,
) -> LanguageModel:
    """Returns a new model whose experts are copies of a dense model's feed-forwards.

    Every weight is copied and only the routers are fresh. A token's gates add up to 1 and its experts
    are equal, so the new model gives the dense one's logits until it is trained; then tokens that choose
    different experts pull them apart. It holds as many parameters more as the copies have.

    Args:
        model: A model with `mlp` in its pattern; it stays as it is.
        num_experts: Copies of each feed-forward, at least 2.
        num_experts_per_tok: Experts that each token passes.
        block_pattern: The new pattern, the old one with some `mlp` written as `moe`; None takes `moe` for
            every `mlp`.
        **fields: How tokens find experts, fields of `ModelConfig`: `router_type`, `num_expert_groups`,
            `num_groups_per_tok`, `bias_update_rate`, `capacity_factor`, `aux_loss_weight`,
            `router_z_loss_weight`, `load_entropy_weight`.

    Raises:
        ConfigError: a pattern without a place for experts, or a field with which the new model would not
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
    pattern = block_pattern or _with_experts(model.config.block_pattern)
    _require_same_stack(model.config.block_pattern, pattern)
    _require_equal_start(num_experts, fields)
    width = model.config.resolved_ffn_dim
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
    sparse = LanguageModel(
        **config.to_dict(),
        dtype=model.backbone.dtype_policy,
        training_config=model.training_config,
        tokenizer=model.tokenizer,
    )
    _copy_weights(model.backbone, sparse.backbone)
    return sparse


def _with_experts(pattern: str) -> str:
    pairs = [(mixer, "moe" if part == "mlp" else part) for mixer, part in parse_pattern(pattern)]
    return ", ".join(mixer if part is None else f"{mixer}+{part}" for mixer, part in pairs)


def _require_dense(model: LanguageModel) -> None:
    parts = [part for _, part in parse_pattern(model.config.block_pattern)]
    if "moe" in parts or "mlp" not in parts:
        raise ConfigError(
            "`upcycle` takes a model whose feed-forwards are dense (`mlp`); received one with block_pattern="
            f"{model.config.block_pattern!r}"
        )
    is_changed = any(
        getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False)
        for layer in model._flatten_layers()
    )
    if is_changed:
        raise ConfigError("`upcycle` takes plain weights; received a model with LoRA or quantized weights")


def _require_same_stack(dense: str, pattern: str) -> None:
    old, new = parse_pattern(dense), parse_pattern(pattern)
    allowed = {"mlp": ("mlp", "moe"), None: (None,)}
    fits = len(old) == len(new) and all(
        before == after and part in allowed[kind]
        for (before, kind), (after, part) in zip(old, new, strict=True)
    )
    if not fits or "moe" not in [part for _, part in new]:
        raise ConfigError(
            f"`block_pattern` must be {dense!r} with `moe` in place of one `mlp` or more, such as "
            f"{_with_experts(dense)!r}; received {pattern!r}"
        )


def _require_equal_start(num_experts: int, fields: dict[str, Any]) -> None:
    if num_experts < 2:
        raise ConfigError(f"`num_experts` must be at least 2; received {num_experts}")
    wrong = [name for name in fields if name not in _FIELDS]
    if wrong:
        raise ConfigError(f"`{wrong[0]}` follows from the dense model; `upcycle` takes {', '.join(_FIELDS)}")
    if fields.get("router_type") == "causal_expert_choice":
        raise ConfigError(
            '`router_type="causal_expert_choice"` leaves tokens without an expert, so that the new model '
            "would not start from the dense one's logits; take another router"
        )


def _copy_weights(dense: ReasoningBackbone, sparse: ReasoningBackbone) -> None:
    sparse.token_embedding.set_weights(dense.token_embedding.get_weights())
    sparse.final_norm.set_weights(dense.final_norm.get_weights())
    for ours, theirs in zip(sparse.reasoning_blocks, dense.reasoning_blocks, strict=True):
        for group in ("mixers", "mixer_norms", "feed_forward_norms", "feed_forwards"):
            for new, old in zip(getattr(ours, group), getattr(theirs, group), strict=True):
                if isinstance(new, MoELayer):
                    _copy_to_experts(old, new)
                else:
                    new.set_weights(old.get_weights())


def _copy_to_experts(feed_forward: GatedFeedForward, experts: MoELayer) -> None:
    for name in ("gate", "up", "down"):
        kernels = getattr(experts.experts, f"{name}_kernel")
        kernels.assign(ops.broadcast_to(getattr(feed_forward, name).kernel, kernels.shape))
