"""The configuration of a language model."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from highnoon.config.expert_ranges import require_expert_choice
from highnoon.config.fields import check_fields, setting, size
from highnoon.config.keys import with_aliases
from highnoon.config.ranges import MAX_SIZE, require

TOP_K_EXPERTS = 2
EXPERT_CAPACITY_FACTOR = 1.25
AUX_LOSS_WEIGHT = 0.01
MAX_BLOCKS = 10_000
FFN_ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu")
NORM_TYPES = ("rms", "zero_centered_rms", "layer")
ATTENTION_BIASES = ("none", "qkv", "all")
POSITION_EMBEDDINGS = ("rotary", "learned")
EMBEDDING_NORMS = ("none", "layer")


@with_aliases
@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The shape of a language model.

    Args:
        vocab_size: Number of token ids, special ids included.
        embedding_dim: Width of the residual stream.
        num_reasoning_blocks: Number of times that `block_pattern` is repeated.
        max_seq_length: Longest sequence, in tokens, that the model supports.
        num_moe_experts: Experts in each mixture-of-experts layer.
        block_pattern: The residual pairs of one reasoning block: a preset name or
            `"mixer+feedforward, ..."`, see `highnoon.models.patterns`.
        num_heads: Query heads; None takes about one per 64 dimensions.
        num_kv_heads: Key and value heads, a divisor of `num_heads`; None takes `num_heads`.
        head_dim: Size of one attention head, even; None takes `embedding_dim / num_heads`.
        qk_norm: Whether an RMS norm of each head is applied to queries and keys before the rotation.
        attention_bias: Which projections of attention have biases: `"none"`, `"qkv"` (queries, keys and
            values) or `"all"` (the output too).
        query_pre_attn_scalar: Attention's scores are divided by its square root; None takes the head size.
        attention_softcap: Bound c of attention's scores, `c * tanh(score / c)`; None for no bound.
        sliding_window: Number of tokens, itself included, that a token of `sliding_attention` attends to;
            None takes a quarter of `max_seq_length`, at most 1024.
        ffn_dim: Inner width of a dense feed-forward; None takes 8/3 of `embedding_dim`.
        ffn_activation: Activation of a dense feed-forward (of the gate in `mlp`): `"silu"`, `"gelu"` (exact),
            `"gelu_tanh"` or `"relu"`.
        ffn_bias: Whether the projections of a dense feed-forward have biases.
        expert_dim: Inner width of one expert; None takes `ffn_dim / num_experts_per_tok`, so
            that a token uses as many parameters as in the dense network.
        num_experts_per_tok: Experts that each token is routed to (top-k).
        num_shared_experts: Experts that every token uses in addition to the routed ones.
        router_type: How tokens are routed to experts, see `highnoon.layers.MoELayer`.
        normalize_gates: Whether the weights of a token's experts are normalized to sum to 1.
        routed_scale: Factor on the output of the routed experts, above 0.
        num_expert_groups: Groups of experts, a divisor of `num_moe_experts`.
        num_groups_per_tok: Number of groups, the best ones, from whose experts a token chooses.
        bias_update_rate: Step of the balancing bias of `router_type="sigmoid"`.
        load_entropy_weight: Weight of the loss on the entropy of the mean load.
        capacity_factor: None routes without drops; a number above 0 lets an expert take at most
            `capacity_factor * tokens * top_k / num_experts` tokens of a row while training, and
            drops the rest.
        aux_loss_weight: Weight of the load-balance loss.
        router_z_loss_weight: Weight of the squared log-partition of the router's logits.
        rope_theta: Base wavelength of the rotary position embedding.
        rope_scaling: How rotary positions are scaled for long contexts, see
            `highnoon.layers.RotaryEmbedding`; None for not at all.
        kv_lora_rank: Size of the cached latent of `latent_attention`; None takes twice the
            head size.
        q_lora_rank: Size of the query's bottleneck in `latent_attention`; None has no bottleneck.
        qk_nope_head_dim: Non-rotary dimensions of a head in `latent_attention`; None takes the head size.
        qk_rope_head_dim: Rotary dimensions of a head, even; None takes half the head size.
        v_head_dim: Dimensions of a head's value; None takes the head size.
        state_dim: State size of `mamba` and `mamba2`; None takes 16 and 64.
        ssm_expand: Inner width of the state-space mixers as a multiple of `embedding_dim`.
        ssm_head_dim: Channels of one head of `mamba2`; None takes the largest divisor up to 64.
        ssm_num_groups: Groups of heads of `mamba2` that share B and C.
        ssm_time_step_rank: Bottleneck of the time step of `mamba`; None takes a 16th of the width.
        conv_kernel_size: Width of the convolution in recurrent mixers and `convolved_attention`, in tokens.
        norm_type: The norm before each layer and at the end: `"rms"`, `"zero_centered_rms"` (the factor is
            1 plus the learned scale) or `"layer"` (layer norm with a bias).
        norm_epsilon: Added to the mean square, or the variance, inside the norms.
        post_norms: Whether the output of each mixer and feed-forward has a norm, before it is added.
        position_embedding: `"rotary"`, inside attention, or `"learned"`: a vector for each of the
            `max_seq_length` positions is added to the token's.
        scale_embeddings: Whether embeddings are multiplied by the square root of `embedding_dim`.
        logit_softcap: Bound c of the logits, `c * tanh(logit / c)`; None for no bound.
        dropout: Rate on each residual branch, in [0, 1).
        tie_embeddings: Whether the head uses the transposed embedding matrix.
        share_blocks: Whether all repetitions of `block_pattern` use the weights of one reasoning block. Each
            repetition has a cache of its own.
        embedding_norm: `"layer"` normalizes the embedding of each token to mean 0 and variance 1, with 1e-5
            added to the variance and without weights; `"none"` leaves it as it is.
        final_norm: Whether the hidden states have a norm after the last block.
        initializer_range: Standard deviation of the normal distribution from which embeddings and kernels
            start; None takes the square root of 2 / (5 `embedding_dim`).

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """

    vocab_size: int = size(60000)
    embedding_dim: int = size(512)
    num_reasoning_blocks: int = setting(6, least=1, most=MAX_BLOCKS)
    max_seq_length: int = size(4096)
    num_moe_experts: int = size(8)
    block_pattern: str = "attention+moe"
    num_heads: int | None = size(None)
    num_kv_heads: int | None = size(None)
    head_dim: int | None = size(None)
    qk_norm: bool = False
    attention_bias: str = setting("none", choices=ATTENTION_BIASES)
    query_pre_attn_scalar: int | None = size(None)
    attention_softcap: float | None = setting(None, above=0)
    sliding_window: int | None = size(None)
    ffn_dim: int | None = size(None)
    ffn_activation: str = setting("silu", choices=FFN_ACTIVATIONS)
    ffn_bias: bool = False
    expert_dim: int | None = size(None)
    num_experts_per_tok: int = size(TOP_K_EXPERTS)
    num_shared_experts: int = setting(0, least=0, most=MAX_SIZE)
    router_type: str = "top_k"
    normalize_gates: bool = True
    routed_scale: float = setting(1.0, above=0)
    num_expert_groups: int = size(1)
    num_groups_per_tok: int = size(1)
    bias_update_rate: float = setting(1e-3, least=0)
    load_entropy_weight: float = setting(0.0, least=0)
    capacity_factor: float | None = setting(None, above=0)
    aux_loss_weight: float = setting(AUX_LOSS_WEIGHT, least=0)
    router_z_loss_weight: float = setting(1e-3, least=0)
    rope_theta: float = setting(10000.0, above=0)
    rope_scaling: dict[str, Any] | None = None
    kv_lora_rank: int | None = size(None)
    q_lora_rank: int | None = size(None)
    qk_nope_head_dim: int | None = size(None)
    qk_rope_head_dim: int | None = size(None)
    v_head_dim: int | None = size(None)
    state_dim: int | None = size(None)
    ssm_expand: int = size(2)
    ssm_head_dim: int | None = size(None)
    ssm_num_groups: int = size(1)
    ssm_time_step_rank: int | None = size(None)
    conv_kernel_size: int = size(4)
    norm_type: str = setting("rms", choices=NORM_TYPES)
    norm_epsilon: float = setting(1e-6, above=0)
    post_norms: bool = False
    position_embedding: str = setting("rotary", choices=POSITION_EMBEDDINGS)
    scale_embeddings: bool = False
    logit_softcap: float | None = setting(None, above=0)
    dropout: float = setting(0.0, least=0, below=1)
    tie_embeddings: bool = True
    share_blocks: bool = False
    embedding_norm: str = setting("none", choices=EMBEDDING_NORMS)
    final_norm: bool = True
    initializer_range: float | None = setting(None, above=0)

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            self.sliding_window is None or self.sliding_window <= self.max_seq_length,
            f"`sliding_window` must be at most max_seq_length={self.max_seq_length}; "
            f"received {self.sliding_window}",
        )
        require_expert_choice(
            self.num_moe_experts,
            self.num_experts_per_tok,
            self.num_expert_groups,
            self.num_groups_per_tok,
            name="num_moe_experts",
        )
        self._check_heads()

    def _check_heads(self) -> None:
        heads, kv_heads = self.resolved_num_heads, self.resolved_num_kv_heads
        if self.head_dim is None:
            require(
                self.embedding_dim % (2 * heads) == 0,
                f"`embedding_dim` must be a multiple of 2 * num_heads={2 * heads}, since rotary positions "
                f"rotate pairs within a head; received {self.embedding_dim}. Or give `head_dim`.",
            )
        for name in ("head_dim", "qk_rope_head_dim"):
            value = getattr(self, name)
            require(
                value is None or value % 2 == 0,
                f"`{name}` must be even, since rotary positions rotate pairs; received {value}",
            )
        require(
            heads % kv_heads == 0,
            f"`num_heads` must be a multiple of num_kv_heads={kv_heads}; received {heads}",
        )

    @property
    def resolved_num_heads(self) -> int:
        if self.num_heads is not None:
            return self.num_heads
        # Heads are divisors of d / 2; divisors come in pairs around its root, so few candidates are tried.
        half = self.embedding_dim // 2 if self.embedding_dim % 2 == 0 else 1
        small = [size for size in range(1, math.isqrt(half) + 1) if half % size == 0]
        most = max(1, self.embedding_dim // 64)
        return max(size for size in [*small, *(half // size for size in small)] if size <= most)

    @property
    def resolved_num_kv_heads(self) -> int:
        return _given(self.num_kv_heads, self.resolved_num_heads)

    @property
    def resolved_head_dim(self) -> int:
        return _given(self.head_dim, self.embedding_dim // self.resolved_num_heads)

    @property
    def resolved_sliding_window(self) -> int:
        return _given(self.sliding_window, max(1, min(1024, self.max_seq_length // 4)))

    @property
    def resolved_latent_dims(self) -> tuple[int, int, int, int]:
        """The sizes of the latent and of a head's non-rotary, rotary and value dimensions."""
        head = self.resolved_head_dim
        return (
            _given(self.kv_lora_rank, 2 * head),
            _given(self.qk_nope_head_dim, head),
            _given(self.qk_rope_head_dim, max(2, head // 4 * 2)),
            _given(self.v_head_dim, head),
        )

    @property
    def ssm_inner_dim(self) -> int:
        return self.ssm_expand * self.embedding_dim

    @property
    def resolved_ssm_head_dim(self) -> int:
        if self.ssm_head_dim is not None:
            return self.ssm_head_dim
        heads_in_groups = self.ssm_inner_dim // self.ssm_num_groups
        return next((size for size in range(64, 0, -1) if heads_in_groups % size == 0), 1)

    @property
    def resolved_ffn_dim(self) -> int:
        return _given(self.ffn_dim, _round_up(self.embedding_dim * 8 / 3, 32))

    @property
    def resolved_expert_dim(self) -> int:
        return _given(self.expert_dim, _round_up(self.resolved_ffn_dim / self.num_experts_per_tok, 16))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _round_up(value: float, multiple: int) -> int:
    return int(-(-value // multiple) * multiple)
