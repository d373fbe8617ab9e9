"""Configuration: frozen dataclasses, their aliases, YAML, and the preset table.

Every hyperparameter of a model or of a run is a field here; nothing else in the package
holds a default of its own for it. A key that is not a field is an error that names the
nearest field, and a field given twice under two names is an error.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import numbers
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import yaml

from highnoon.files import foreign
from highnoon.files.name_path import name_path
from highnoon.files.nearest_name import nearest_name
from highnoon.files.shown import shown

EARLY_STOPPING_PATIENCE = 10
EARLY_STOPPING_MIN_DELTA = 0.001
SCHEDULES = ("cosine", "linear", "wsd", "inverse_sqrt", "constant")
FAULT_ANSWERS = ("cut_learning_rate", "go_back")
LEARNING_RATE_SCALINGS = ("none", "linear", "sqrt")
OPTIMIZERS = ("adamw", "adafactor", "lion", "muon")
TOP_K_EXPERTS = 2
EXPERT_CAPACITY_FACTOR = 1.25
AUX_LOSS_WEIGHT = 0.01

ALIASES: dict[str, str] = {
    "max_seq_len": "max_seq_length",
    "max_length": "max_seq_length",
    "d_model": "embedding_dim",
    "n_embd": "embedding_dim",
    "n_layers": "num_reasoning_blocks",
    "n_layer": "num_reasoning_blocks",
    "n_heads": "num_heads",
    "n_head": "num_heads",
    "num_experts": "num_moe_experts",
    "top_k": "num_experts_per_tok",
    "grad_clip": "gradient_clip",
    "max_grad_norm": "gradient_clip",
    "grad_accum_steps": "gradient_accumulation_steps",
    "max_epochs": "epochs",
    "num_epochs": "epochs",
    "warmup_iters": "warmup_steps",
    "lr": "learning_rate",
}

_Config = TypeVar("_Config", bound=type)
_Number = TypeVar("_Number", int, float)

MAX_COUNT = 2**63 - 1
"""Steps, tokens and intervals are at most this: what 64 bits hold."""
MAX_SIZE = 2**31 - 1
"""Token ids and positions are 32 bits, and so is every size of a tensor that comes from them."""
MAX_BLOCKS = 10_000
_MAX_FLOAT32 = 3.4028234663852886e38
_MIN_FLOAT32 = 1.1754943508222875e-38
_LONGEST_KEY = 100


class ConfigError(ValueError):
    """A configuration that cannot be used: an unknown or doubled key, or a value out of range."""


def resolve_keys(values: Mapping[str, Any], known: set[str], owner: str) -> dict[str, Any]:
    """Returns `values` under canonical names.

    Raises:
        ConfigError: `values` is no mapping, a key is neither in `known` nor an alias of one, or two keys name
            one field.
    """
    _require(isinstance(values, Mapping), f"{owner} must be a mapping of keys; received {shown(values)}")
    resolved: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in values.items():
        _require(
            isinstance(key, str) and len(key) <= _LONGEST_KEY,
            f"{owner} has the key {shown(key)}; known keys: {', '.join(sorted(known))}",
        )
        name = key if key in known else ALIASES.get(key, key)
        if name not in known:
            near = nearest_name(key, [*known, *ALIASES])
            hint = (
                f"did you mean `{near}`?" if near is not None else f"known keys: {', '.join(sorted(known))}"
            )
            raise ConfigError(f"{owner} has no key `{key}`; {hint}")
        if name in resolved:
            raise ConfigError(
                f"{owner} got `{spelled[name]}` and `{key}`, which name the same field "
                f"`{name}`; give one of them"
            )
        resolved[name], spelled[name] = value, key
    return resolved


def _with_aliases(cls: _Config) -> _Config:
    """Lets a dataclass be constructed with alias keywords."""
    known = {field.name for field in dataclasses.fields(cls)}
    plain_init: Callable[..., None] = cls.__init__  # type: ignore[misc]

    @functools.wraps(plain_init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        plain_init(self, *args, **resolve_keys(kwargs, known, cls.__name__))

    cls.__init__ = __init__  # type: ignore[misc]
    return cls


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


class Default:
    """Marks the default of an argument, which a caller who gives the same value does not pass.

    `default(10)` is a 10 in every other respect, so signatures and documentation show the number.
    """


class _DefaultInt(int, Default):
    pass


class _DefaultFloat(float, Default):
    pass


def default(value: _Number) -> _Number:
    """Returns a number for use as an argument's default, which `is_given` tells from one that was passed.

    Example:

    ```python
    from highnoon.config import default, is_given

    def train(epochs: int = default(10)) -> bool:
        return is_given(epochs)

    assert train(epochs=10) and not train()
    ```
    """
    kind = _DefaultFloat if isinstance(value, float) else _DefaultInt
    return cast(_Number, kind(value))


def is_given(value: Any) -> bool:
    """Returns whether an argument was passed: it is not the `default` of its signature."""
    return not isinstance(value, Default)


def require_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    error: type[ValueError] = ConfigError,
) -> float:
    """Returns `value` as a float, after checking that it is a finite number in a range.

    Numbers of NumPy are accepted; bools and texts are not. A finite number is one that float32, in which
    models are trained, can hold.

    Args:
        name: Of the argument, for the message.
        value: What was received.
        least: Smallest value.
        above: Bound that the value must exceed.
        most: Largest value.
        below: Bound that the value must not reach.
        error: What to raise.

    Raises:
        ConfigError: `value` is not such a number.
    """
    expected = _range(least, above, most, below)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number:
        raise error(f"`{name}` must be a number; received {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= _MAX_FLOAT32:
        raise error(f"`{name}` must be {expected}{' and ' * bool(expected)}finite; received {shown(value)}")
    if not _is_within(number, least, above, most, below):
        expected = "not be negative" if expected == "at least 0" else f"be {expected}"
        raise error(f"`{name}` must {expected}; received {number!r}")
    if above == 0 and number < _MIN_FLOAT32:
        raise error(f"`{name}` must be above 0, at least {_MIN_FLOAT32:g}; received {shown(value)}")
    return number


def require_count(
    name: str,
    value: Any,
    *,
    least: int = 1,
    most: int = MAX_COUNT,
    error: type[ValueError] = ConfigError,
) -> int:
    """Returns `value` as an int, after checking that it is a whole number in a range.

    Integers of NumPy are accepted; bools, texts and floats are not.

    Args:
        name: Of the argument, for the message.
        value: What was received.
        least: Smallest value.
        most: Largest value.
        error: What to raise.

    Raises:
        ConfigError: `value` is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise error(f"`{name}` must be a whole number; received {shown(value)}")
    if int(value) < least:
        expected = f"must be at least {least}" if least else "must not be negative"
        raise error(f"`{name}` {expected}; received {shown(value)}")
    if int(value) > most:
        raise error(f"`{name}` must be at most {most:,}; received {shown(value)}")
    return int(value)


def require_choice(
    name: str, value: Any, choices: Sequence[str], error: type[ValueError] = ConfigError
) -> str:
    """Returns `value`, after checking that it is one of the texts in `choices`.

    Raises:
        ConfigError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise error(f"`{name}` must be one of {', '.join(choices)}; received {shown(value)}")
    return value


def require_flag(name: str, value: Any, error: type[ValueError] = ConfigError) -> bool:
    """Returns `value`, after checking that it is true or false.

    Raises:
        ConfigError: it is neither.
    """
    if not isinstance(value, bool):
        raise error(f"`{name}` must be true or false; received {shown(value)}")
    return value


def require_text(name: str, value: Any, error: type[ValueError] = ConfigError) -> str:
    """Returns `value`, after checking that it is a text that is not empty and holds no NUL.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise error(f"`{name}` must be a text; received {shown(value)}")
    return value


def require_texts(name: str, value: Any, error: type[ValueError] = ConfigError) -> list[str]:
    """Returns `value` as a list, after checking that it is a text or a list of texts.

    Raises:
        ConfigError: it is not.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise error(f"`{name}` must be a text or a list of texts; received {shown(value)}")
    return list(texts)


def require_path(name: str, value: Any, error: type[ValueError] = ConfigError) -> str | os.PathLike[str]:
    """Returns `value`, after checking that it can be the path of a file.

    Raises:
        ConfigError: it is neither a path object nor a text, or it is empty or holds a NUL.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise error(f"`{name}` must be a path; received {shown(value)}")
    return cast("str | os.PathLike[str]", value)


def _range(least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    lowest = least if least is not None else above
    highest = most if most is not None else below
    if lowest is not None and highest is not None:
        return f"in {'(' if least is None else '['}{lowest:g}, {highest:g}{')' if most is None else ']'}"
    if lowest is not None:
        return f"at least {least:g}" if least is not None else f"above {above:g}"
    if highest is not None:
        return f"at most {most:g}" if most is not None else f"below {below:g}"
    return ""


def _is_within(
    number: float, least: float | None, above: float | None, most: float | None, below: float | None
) -> bool:
    return (
        (least is None or number >= least)
        and (above is None or number > above)
        and (most is None or number <= most)
        and (below is None or number < below)
    )


def _check_fields(config: Any, ranges: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks the type and the range of every field and stores numbers as Python's own.

    Args:
        config: A dataclass whose annotations are those of `ModelConfig`.
        ranges: Arguments of `require_count` or `require_number` by field.
    """
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), str(field.type)
        if value is None and "None" in kind:
            continue
        if isinstance(field.default, Default) and isinstance(value, Default):
            continue
        try:
            value = _checked(field.name, value, kind, ranges.get(field.name, {}))
        except ConfigError as error:
            nullable = " or None; received" if "None" in kind else "; received"
            raise ConfigError(str(error).replace("; received", nullable, 1)) from None
        object.__setattr__(config, field.name, value)


def _checked(name: str, value: Any, kind: str, limits: Mapping[str, Any]) -> Any:
    if kind.startswith("bool"):
        return require_flag(name, value)
    if kind.startswith("float"):
        return require_number(name, value, **limits)
    if kind.startswith("int"):
        # YAML and Hugging Face write some counts as 1e3 or 8.0.
        is_whole = isinstance(value, float) and value.is_integer()
        return require_count(name, int(value) if is_whole else value, **limits)
    if kind.startswith("str"):
        return require_text(name, value)
    if kind.startswith("dict"):
        _require(isinstance(value, Mapping), f"`{name}` must be a mapping; received {shown(value)}")
    return value


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _round_up(value: float, multiple: int) -> int:
    return int(-(-value // multiple) * multiple)


_SIZE = {"least": 1, "most": MAX_SIZE}
_MODEL_RANGES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            "vocab_size",
            "embedding_dim",
            "max_seq_length",
            "num_moe_experts",
            "num_experts_per_tok",
            "num_expert_groups",
            "num_groups_per_tok",
            "ssm_expand",
            "ssm_num_groups",
            "conv_kernel_size",
            "num_heads",
            "num_kv_heads",
            "head_dim",
            "ffn_dim",
            "expert_dim",
            "sliding_window",
            "kv_lora_rank",
            "q_lora_rank",
            "qk_nope_head_dim",
            "qk_rope_head_dim",
            "v_head_dim",
            "state_dim",
            "ssm_head_dim",
            "ssm_time_step_rank",
        ),
        _SIZE,
    ),
    "num_reasoning_blocks": {"least": 1, "most": MAX_BLOCKS},
    "num_shared_experts": {"least": 0, "most": MAX_SIZE},
    **dict.fromkeys(
        ("aux_loss_weight", "router_z_loss_weight", "bias_update_rate", "load_entropy_weight"), {"least": 0}
    ),
    **dict.fromkeys(("routed_scale", "capacity_factor", "rope_theta", "norm_epsilon"), {"above": 0}),
    "dropout": {"least": 0, "below": 1},
}


@_with_aliases
@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The shape of a language model.

    Args:
        vocab_size: Number of token ids, special ids included.
        embedding_dim: Width of the residual stream.
        num_reasoning_blocks: Number of times that `block_pattern` is repeated.
        max_seq_length: Longest sequence, in tokens, that the model is meant for.
        num_moe_experts: Experts in each mixture-of-experts layer.
        block_pattern: The residual pairs of one reasoning block: a preset name or
            `"mixer+feedforward, ..."`, see `highnoon.models.patterns`.
        num_heads: Query heads; None takes about one per 64 dimensions.
        num_kv_heads: Key and value heads, a divisor of `num_heads`; None takes `num_heads`.
        head_dim: Size of one attention head, even; None takes `embedding_dim / num_heads`.
        qk_norm: Whether queries and keys pass an RMS norm of their head, before they are turned.
        sliding_window: How many tokens, itself among them, a token of `sliding_attention` sees; None
            takes a quarter of `max_seq_length`, at most 1024.
        ffn_dim: Inner width of a dense feed-forward; None takes 8/3 of `embedding_dim`.
        expert_dim: Inner width of one expert; None takes `ffn_dim / num_experts_per_tok`, so
            that a token passes as many parameters as in the dense network.
        num_experts_per_tok: Experts that each token passes (top-k).
        num_shared_experts: Experts that every token passes beside the routed ones.
        router_type: How tokens find experts, see `highnoon.layers.MoELayer`.
        normalize_gates: Whether the weights of a token's experts are made to add up to 1.
        routed_scale: Factor on what the routed experts give, above 0.
        num_expert_groups: Groups of experts, a divisor of `num_moe_experts`.
        num_groups_per_tok: Groups, the best ones, among whose experts a token chooses.
        bias_update_rate: Step of the balancing bias of `router_type="sigmoid"`.
        load_entropy_weight: Weight of the loss on uneven mean load.
        capacity_factor: None routes without drops; a number above 0 lets an expert take at most
            `capacity_factor * tokens * top_k / num_experts` tokens of a row while training, and
            drops the rest.
        aux_loss_weight: Weight of the load-balance loss.
        router_z_loss_weight: Weight of the squared log-partition of the router's logits.
        rope_theta: Base wavelength of the rotary position embedding.
        rope_scaling: How rotary positions are stretched for long contexts, see
            `highnoon.layers.RotaryEmbedding`; None for not at all.
        kv_lora_rank: Size of the cached latent of `latent_attention`; None takes twice the head's.
        q_lora_rank: Size of the query's bottleneck in `latent_attention`; None for none.
        qk_nope_head_dim: Size of a head's unturned part in `latent_attention`; None takes the head's.
        qk_rope_head_dim: Size of its turned part, even; None takes half the head's.
        v_head_dim: Size of its value; None takes the head's.
        state_dim: State size of `mamba` and `mamba2`; None takes 16 and 64.
        ssm_expand: Inner width of the state-space mixers as a multiple of `embedding_dim`.
        ssm_head_dim: Channels of one head of `mamba2`; None takes the largest divisor up to 64.
        ssm_num_groups: Groups of heads of `mamba2` that share B and C.
        ssm_time_step_rank: Bottleneck of the time step of `mamba`; None takes a 16th of the width.
        conv_kernel_size: Places that the convolution before a recurrent mixer sees.
        norm_epsilon: Added to the mean square inside RMS norm.
        dropout: Rate on each residual branch, in [0, 1).
        tie_embeddings: Whether the head uses the transposed embedding matrix.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """

    vocab_size: int = 60000
    embedding_dim: int = 512
    num_reasoning_blocks: int = 6
    max_seq_length: int = 4096
    num_moe_experts: int = 8
    block_pattern: str = "attention+moe"
    num_heads: int | None = None
    num_kv_heads: int | None = None
    head_dim: int | None = None
    qk_norm: bool = False
    sliding_window: int | None = None
    ffn_dim: int | None = None
    expert_dim: int | None = None
    num_experts_per_tok: int = TOP_K_EXPERTS
    num_shared_experts: int = 0
    router_type: str = "top_k"
    normalize_gates: bool = True
    routed_scale: float = 1.0
    num_expert_groups: int = 1
    num_groups_per_tok: int = 1
    bias_update_rate: float = 1e-3
    load_entropy_weight: float = 0.0
    capacity_factor: float | None = None
    aux_loss_weight: float = AUX_LOSS_WEIGHT
    router_z_loss_weight: float = 1e-3
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    kv_lora_rank: int | None = None
    q_lora_rank: int | None = None
    qk_nope_head_dim: int | None = None
    qk_rope_head_dim: int | None = None
    v_head_dim: int | None = None
    state_dim: int | None = None
    ssm_expand: int = 2
    ssm_head_dim: int | None = None
    ssm_num_groups: int = 1
    ssm_time_step_rank: int | None = None
    conv_kernel_size: int = 4
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        _check_fields(self, _MODEL_RANGES)
        _require(
            self.sliding_window is None or self.sliding_window <= self.max_seq_length,
            f"`sliding_window` must be at most max_seq_length={self.max_seq_length}; "
            f"received {self.sliding_window}",
        )
        self._check_experts()
        self._check_heads()

    def _check_experts(self) -> None:
        _require(
            self.num_experts_per_tok <= self.num_moe_experts,
            f"`num_experts_per_tok` must be between 1 and num_moe_experts={self.num_moe_experts}; "
            f"received {self.num_experts_per_tok}",
        )
        _require(
            self.num_moe_experts % self.num_expert_groups == 0,
            f"`num_expert_groups` must divide num_moe_experts={self.num_moe_experts}; "
            f"received {self.num_expert_groups}",
        )
        _require(
            self.num_groups_per_tok <= self.num_expert_groups,
            f"`num_groups_per_tok` must be between 1 and num_expert_groups={self.num_expert_groups}; "
            f"received {self.num_groups_per_tok}",
        )
        in_reach = self.num_groups_per_tok * (self.num_moe_experts // self.num_expert_groups)
        _require(
            self.num_experts_per_tok <= in_reach,
            f"`num_experts_per_tok` must be at most the {in_reach} experts of num_groups_per_tok="
            f"{self.num_groups_per_tok} groups; received {self.num_experts_per_tok}",
        )

    def _check_heads(self) -> None:
        heads, kv_heads = self.resolved_num_heads, self.resolved_num_kv_heads
        if self.head_dim is None:
            _require(
                self.embedding_dim % (2 * heads) == 0,
                f"`embedding_dim` must be a multiple of 2 * num_heads={2 * heads}, since rotary positions "
                f"turn pairs within a head; received {self.embedding_dim}. Or give `head_dim`.",
            )
        for name in ("head_dim", "qk_rope_head_dim"):
            value = getattr(self, name)
            _require(
                value is None or value % 2 == 0,
                f"`{name}` must be even, since rotary positions turn pairs; received {value}",
            )
        _require(
            heads % kv_heads == 0,
            f"`num_heads` must be a multiple of num_kv_heads={kv_heads}; received {heads}",
        )

    @property
    def resolved_num_heads(self) -> int:
        if self.num_heads is not None:
            return self.num_heads
        # Heads are divisors of d / 2; divisors come in pairs around its root, so few numbers are tried.
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
        """Sizes of the latent, of a head's unturned and turned part, and of its value."""
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


_TRAINING_RANGES: dict[str, dict[str, Any]] = {
    "warmup_steps": {"least": 0},
    "seed": {"least": 0},
    **dict.fromkeys(
        ("batch_size", "max_seq_length", "gradient_accumulation_steps", "global_batch_size"), _SIZE
    ),
    **dict.fromkeys(("learning_rate", "adam_epsilon", "gradient_clip", "spike_threshold"), {"above": 0}),
    **dict.fromkeys(
        ("adam_beta1", "adam_beta2", "validation_split", "muon_momentum", "ema_momentum"),
        {"least": 0, "below": 1},
    ),
    **dict.fromkeys(("weight_decay", "early_stopping_min_delta", "min_learning_rate_ratio"), {"least": 0}),
    "decay_ratio": {"above": 0, "most": 1},
}


@_with_aliases
@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Args:
        learning_rate: Peak learning rate.
        batch_size: Rows in one micro-batch on one device.
        epochs: Passes over a stage's data where neither the stage nor `train` says.
        warmup_steps: Optimizer steps of linear warm-up; None takes a tenth of the run, at
            most 1000.
        gradient_clip: Largest global norm of the gradient; None does not clip.
        weight_decay: Decoupled decay, kept off norms, biases and embeddings.
        adam_beta1: Decay of the first moment.
        adam_beta2: Decay of the second moment.
        adam_epsilon: Added to the root of the second moment.
        gradient_accumulation_steps: Micro-batches of one replica summed into one optimizer step.
        global_batch_size: Rows of one optimizer step on all replicas together; in its place the
            accumulation follows from it, so that the run is the same on any number of replicas.
        max_seq_length: Row length in tokens.
        optimizer: `"adamw"`, `"adafactor"`, `"lion"` or `"muon"`, see `highnoon.training.optimizers`.
        muon_momentum: Momentum of Muon's matrices.
        ema_momentum: Share of the old average that stays at each step, of a moving average of the weights
            that validation and the final model use; None keeps none.
        schedule: After the warm-up: `"cosine"`, `"linear"`, `"wsd"` (steady, then linear over the last
            `decay_ratio` of the run), `"inverse_sqrt"` or `"constant"`.
        decay_ratio: Share of the run in which `"wsd"` decays.
        min_learning_rate_ratio: Where cosine, linear and `"wsd"` end, as a share of the peak.
        validation_split: Share of documents held out, by a hash of their text.
        early_stopping_patience: Evaluated epochs without improvement before a stage ends;
            None never ends early.
        early_stopping_min_delta: Smallest fall of the validation loss that counts, in nats.
        spike_threshold: A loss this many standard deviations above its running mean is passed over, like
            one that is not finite; None lets it pass.
        max_skipped_steps: Steps passed over in a row before the fault ladder is climbed.
        fault_ladder: What is done, one rung at each time: `"cut_learning_rate"` (by half) or `"go_back"`
            (to the newest checkpoint, and past the batches since); after the last one the run stops.
        learning_rate_scaling: With more replicas: `"none"`, `"linear"` or `"sqrt"` in their number.
        seed: Seed of data order and dropout.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """

    learning_rate: float = 1e-4
    batch_size: int = 8
    epochs: int = default(100)
    warmup_steps: int | None = 1000
    gradient_clip: float | None = 1.0
    weight_decay: float = 0.01
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    gradient_accumulation_steps: int = 1
    global_batch_size: int | None = None
    max_seq_length: int = 2048
    optimizer: str = "adamw"
    muon_momentum: float = 0.95
    ema_momentum: float | None = None
    schedule: str = "cosine"
    decay_ratio: float = 0.2
    min_learning_rate_ratio: float = 0.1
    validation_split: float = 0.1
    early_stopping_patience: int | None = EARLY_STOPPING_PATIENCE
    early_stopping_min_delta: float = EARLY_STOPPING_MIN_DELTA
    spike_threshold: float | None = None
    max_skipped_steps: int = 10
    fault_ladder: tuple[str, ...] = ()
    learning_rate_scaling: str = "none"
    seed: int = 42

    def __post_init__(self) -> None:
        _check_fields(self, _TRAINING_RANGES)
        require_choice("schedule", self.schedule, SCHEDULES)
        require_choice("optimizer", self.optimizer, OPTIMIZERS)
        require_choice("learning_rate_scaling", self.learning_rate_scaling, LEARNING_RATE_SCALINGS)
        rungs: Any = self.fault_ladder
        rungs = [rungs] if isinstance(rungs, str) else rungs
        _require(
            isinstance(rungs, (list, tuple)),
            f"`fault_ladder` must be a list of {', '.join(FAULT_ANSWERS)}; received {shown(rungs)}",
        )
        object.__setattr__(self, "fault_ladder", tuple(rungs))
        for rung in self.fault_ladder:
            _require(
                rung in FAULT_ANSWERS,
                f"`fault_ladder` is made of {', '.join(FAULT_ANSWERS)}; received {shown(rung)}",
            )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"epochs": int(self.epochs)}

    @classmethod
    def of_model(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Returns the configuration that was saved with a model, for later runs: its `epochs` is not given.

        A saved configuration holds every field, so it cannot tell whether `epochs` was given.
        """
        return cls(**{key: value for key, value in values.items() if key != "epochs"})


@_with_aliases
@dataclasses.dataclass(frozen=True)
class Config:
    """A model and how it is trained.

    Example:

    ```python
    config = Config(model=ModelConfig(embedding_dim=256), training=TrainingConfig(batch_size=4))
    config.save("run.yaml")
    assert Config.load("run.yaml") == config
    ```
    """

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        for name, kind in (("model", ModelConfig), ("training", TrainingConfig)):
            value = getattr(self, name)
            _require(isinstance(value, kind), f"`{name}` must be a {kind.__name__}; received {shown(value)}")

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model.to_dict(), "training": self.training.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Builds a configuration from nested mappings; a part left out keeps its defaults."""
        parts = resolve_keys(values, {"model", "training"}, "Config")
        for name, part in parts.items():
            _require(isinstance(part, Mapping), f"`{name}` must be a mapping; received {shown(part)}")
        return cls(
            model=_from_mapping(ModelConfig, parts.get("model", {})),
            training=_from_mapping(TrainingConfig, parts.get("training", {})),
        )

    def save(self, path: str | pathlib.Path) -> None:
        """Writes YAML, or JSON where the name ends in `.json`."""
        path = pathlib.Path(path)
        text = (
            json.dumps(self.to_dict(), indent=2)
            if path.suffix == ".json"
            else yaml.safe_dump(self.to_dict(), sort_keys=False)
        )
        with name_path(path):
            path.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | pathlib.Path) -> Config:
        """Reads what `save` wrote, or a YAML or JSON file made by hand.

        Raises:
            ConfigError: no such file, an unknown key, or a value out of its range.
        """
        values = read_yaml(path)
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


def _from_mapping(cls: Callable[..., Any], values: Mapping[Any, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(cast(Any, cls))}
    return cls(**resolve_keys(values, known, cast(Any, cls).__name__))


def read_yaml(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns the mapping in a YAML or JSON file.

    Raises:
        ConfigError: the file is missing, is not YAML, gives a key twice, is nested too deep or too large,
            or is not a mapping.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ConfigError(f"no configuration file at {path}")
    try:
        values: dict[str, Any] = foreign.read_yaml(path, expected=object)
    except foreign.ForeignDataError as error:
        raise ConfigError(str(error)) from None
    _require(isinstance(values, dict), f"{path} must hold a mapping of keys to values")
    return values


_TWO_PAIRS = "attention+moe, attention+moe"

PRESETS: dict[str, dict[str, Any]] = {
    "highnoon-nano": {
        "vocab_size": 512,
        "embedding_dim": 128,
        "num_reasoning_blocks": 2,
        "max_seq_length": 256,
        "num_moe_experts": 4,
        "num_heads": 2,
        "expert_dim": 256,
    },
    "highnoon-tiny": {
        "vocab_size": 4096,
        "embedding_dim": 192,
        "num_reasoning_blocks": 2,
        "max_seq_length": 1024,
        "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 3,
        "expert_dim": 256,
    },
    "highnoon-small": {
        "vocab_size": 32000,
        "embedding_dim": 512,
        "num_reasoning_blocks": 4,
        "num_moe_experts": 4,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 8,
        "num_kv_heads": 4,
        "expert_dim": 2048,
    },
    "highnoon-base": {
        "vocab_size": 32000,
        "embedding_dim": 768,
        "num_reasoning_blocks": 6,
        "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 12,
        "num_kv_heads": 4,
        "expert_dim": 1408,
    },
    "highnoon-large": {
        "vocab_size": 32000,
        "embedding_dim": 1280,
        "num_reasoning_blocks": 8,
        "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 20,
        "num_kv_heads": 4,
        "expert_dim": 1824,
    },
    "highnoon-3b": {
        "vocab_size": 32000,
        "embedding_dim": 2048,
        "num_reasoning_blocks": 12,
        "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 16,
        "num_kv_heads": 4,
        "expert_dim": 2304,
    },
    "highnoon-7b": {
        "vocab_size": 32000,
        "embedding_dim": 3072,
        "num_reasoning_blocks": 16,
        "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 24,
        "num_kv_heads": 6,
        "expert_dim": 1728,
    },
    "highnoon-13b": {
        "vocab_size": 32000,
        "embedding_dim": 4096,
        "num_reasoning_blocks": 20,
        "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 32,
        "num_kv_heads": 8,
        "expert_dim": 1920,
    },
    "highnoon-20b": {
        "vocab_size": 32000,
        "embedding_dim": 4096,
        "num_reasoning_blocks": 24,
        "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 32,
        "num_kv_heads": 8,
        "expert_dim": 2496,
    },
}


def get_preset_config(name: str, **overrides: Any) -> Config:
    """Returns the configuration of a preset, with model or training fields overridden by keyword.

    Raises:
        ConfigError: an unknown preset or override, naming the nearest known one.
    """
    require_text("preset", name)
    canonical = name if name in PRESETS else f"highnoon-{name}"
    if canonical not in PRESETS:
        near = nearest_name(canonical, PRESETS)
        hint = f"; did you mean `{near}`?" if near is not None else ""
        raise ConfigError(f"no preset {shown(name)}{hint} (presets: {', '.join(PRESETS)})")
    return override(Config(model=ModelConfig(**PRESETS[canonical])), **overrides)


def override(config: Config, **overrides: Any) -> Config:
    """Returns `config` with fields replaced; each field name belongs to the model or to training.

    A field of both (`max_seq_length`) changes the model's.
    """
    model_fields = {field.name for field in dataclasses.fields(ModelConfig)}
    training_fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    values = resolve_keys(overrides, model_fields | training_fields, "Config")
    model = {key: value for key, value in values.items() if key in model_fields}
    training = {key: value for key, value in values.items() if key not in model_fields}
    return Config(
        model=dataclasses.replace(config.model, **model),
        training=dataclasses.replace(config.training, **training),
    )
