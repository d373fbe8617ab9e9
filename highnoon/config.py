"""Configuration: frozen dataclasses, their aliases, YAML, and the preset table.

Every hyperparameter of a model or of a run is a field here; nothing else in the package
holds a default of its own for it. A key that is not a field is an error that names the
nearest field, and a field given twice under two names is an error.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import yaml

from highnoon.files import foreign
from highnoon.files.shown import shown

EARLY_STOPPING_PATIENCE = 10
EARLY_STOPPING_MIN_DELTA = 0.001
SCHEDULES = ("cosine", "linear", "wsd", "inverse_sqrt", "constant")
FAULT_ANSWERS = ("cut_learning_rate", "go_back")
OPTIMIZERS = ("adamw", "adafactor", "lion", "muon")
TOP_K_EXPERTS = 2
EXPERT_CAPACITY_FACTOR = 1.25
AUX_LOSS_WEIGHT = 0.01
LARGEST_SIZE = 2**53 - 1  # of the whole numbers that a JSON number holds exactly

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


class ConfigError(ValueError):
    """A configuration that cannot be used: an unknown or doubled key, or a value out of range."""


def resolve_keys(values: Mapping[str, Any], known: set[str], owner: str) -> dict[str, Any]:
    """Returns `values` under canonical names.

    Raises:
        ConfigError: a key is neither in `known` nor an alias of one, or two keys name one field.
    """
    resolved: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in values.items():
        name = key if key in known else ALIASES.get(key, key)
        if name not in known:
            near = difflib.get_close_matches(key, [*known, *ALIASES], n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(sorted(known))}"
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


def _require_bounded(config: Any) -> None:
    """Refuses numbers beyond any size of a model, before anything is computed with them."""
    for field in dataclasses.fields(config):
        value, is_count = getattr(config, field.name), str(field.type).startswith("int")
        if isinstance(value, int) or (is_count and isinstance(value, float)):
            _require(
                not abs(value) > LARGEST_SIZE,
                f"`{field.name}` must be within ±{LARGEST_SIZE:,}; received {shown(value)}",
            )


def _largest_divisor(number: int, at_most: int) -> int:
    """Returns the largest divisor of a number that is not above `at_most`; of numbers beyond 2^32, which no
    machine could hold, the largest that is found in bounded time."""
    smaller = (one for one in range(1, min(math.isqrt(number), 2**16) + 1) if number % one == 0)
    return max(one for pair in ((n, number // n) for n in smaller) for one in pair if one <= at_most)


def _coerce_numbers(config: Any) -> None:
    """Turns `1` into `1.0` and `"1e-3"` into `0.001` for number fields; refuses other types."""
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), str(field.type)
        if value is None and "None" in kind:
            continue
        if kind.startswith("bool"):
            _require(isinstance(value, bool), f"`{field.name}` must be true or false; received {value!r}")
        elif kind.startswith("float") and not isinstance(value, float):
            try:
                object.__setattr__(config, field.name, float(value))
            except (TypeError, ValueError):
                raise ConfigError(f"`{field.name}` must be a number; received {value!r}") from None
        elif kind.startswith("int") and (isinstance(value, bool) or not isinstance(value, int)):
            _require(
                isinstance(value, float) and value.is_integer(),
                f"`{field.name}` must be a whole number; received {value!r}",
            )
            object.__setattr__(config, field.name, int(value))


def _round_up(value: float, multiple: int) -> int:
    return int(-(-value // multiple) * multiple)


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
        _require_bounded(self)
        _coerce_numbers(self)
        for name in ("vocab_size", "embedding_dim", "num_reasoning_blocks", "max_seq_length",
                     "num_moe_experts", "num_experts_per_tok", "num_expert_groups", "num_groups_per_tok",
                     "ssm_expand", "ssm_num_groups", "conv_kernel_size"):
            value = getattr(self, name)
            _require(value >= 1, f"`{name}` must be at least 1; received {value}")
        for name in ("num_heads", "num_kv_heads", "head_dim", "ffn_dim", "expert_dim", "sliding_window",
                     "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
                     "state_dim", "ssm_head_dim", "ssm_time_step_rank"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"`{name}` must be at least 1 or None; received {value}")
        for name in ("aux_loss_weight", "router_z_loss_weight", "num_shared_experts", "bias_update_rate",
                     "load_entropy_weight"):
            value = getattr(self, name)
            _require(value >= 0, f"`{name}` must not be negative; received {value}")
        _require(0.0 <= self.dropout < 1.0, f"`dropout` must be in [0, 1); received {self.dropout}")
        _require(self.routed_scale > 0, f"`routed_scale` must be above 0; received {self.routed_scale}")
        _require(
            self.capacity_factor is None or self.capacity_factor > 0,
            f"`capacity_factor` must be above 0, or None for no drops; received {self.capacity_factor}",
        )
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
        if self.embedding_dim % 2:
            return 1
        return _largest_divisor(self.embedding_dim // 2, at_most=max(1, self.embedding_dim // 64))

    @property
    def resolved_num_kv_heads(self) -> int:
        return self.num_kv_heads or self.resolved_num_heads

    @property
    def resolved_head_dim(self) -> int:
        return self.head_dim or self.embedding_dim // self.resolved_num_heads

    @property
    def resolved_sliding_window(self) -> int:
        return self.sliding_window or max(1, min(1024, self.max_seq_length // 4))

    @property
    def resolved_latent_dims(self) -> tuple[int, int, int, int]:
        """Sizes of the latent, of a head's unturned and turned part, and of its value."""
        head = self.resolved_head_dim
        turned = self.qk_rope_head_dim or max(2, head // 4 * 2)
        return self.kv_lora_rank or 2 * head, self.qk_nope_head_dim or head, turned, self.v_head_dim or head

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
        return self.ffn_dim or _round_up(self.embedding_dim * 8 / 3, 32)

    @property
    def resolved_expert_dim(self) -> int:
        return self.expert_dim or _round_up(self.resolved_ffn_dim / self.num_experts_per_tok, 16)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


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
    epochs: int = 100
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
        _coerce_numbers(self)
        for name in ("batch_size", "epochs", "gradient_accumulation_steps", "max_seq_length"):
            value = getattr(self, name)
            _require(value >= 1, f"`{name}` must be at least 1; received {value}")
        for name in ("learning_rate", "adam_epsilon"):
            value = getattr(self, name)
            _require(value > 0, f"`{name}` must be above 0; received {value}")
        for name in ("adam_beta1", "adam_beta2", "validation_split"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"`{name}` must be in [0, 1); received {value}")
        for name in ("weight_decay", "early_stopping_min_delta", "min_learning_rate_ratio"):
            value = getattr(self, name)
            _require(value >= 0, f"`{name}` must not be negative; received {value}")
        _require(self.warmup_steps is None or self.warmup_steps >= 0,
                 f"`warmup_steps` must not be negative; received {self.warmup_steps}")
        _require(self.gradient_clip is None or self.gradient_clip > 0,
                 f"`gradient_clip` must be above 0 or None; received {self.gradient_clip}")
        _require(self.early_stopping_patience is None or self.early_stopping_patience >= 1,
                 f"`early_stopping_patience` must be at least 1 or None; "
                 f"received {self.early_stopping_patience}")
        for name, choices in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS)):
            value = getattr(self, name)
            _require(value in choices, f"`{name}` must be one of {', '.join(choices)}; received {value!r}")
        rungs: Any = self.fault_ladder
        rungs = [rungs] if isinstance(rungs, str) else rungs
        object.__setattr__(self, "fault_ladder", tuple(rungs))
        for rung in self.fault_ladder:
            _require(rung in FAULT_ANSWERS,
                     f"`fault_ladder` is made of {', '.join(FAULT_ANSWERS)}; received {rung!r}")
        _require(self.learning_rate_scaling in ("none", "linear", "sqrt"),
                 f'`learning_rate_scaling` must be "none", "linear" or "sqrt"; '
                 f"received {self.learning_rate_scaling!r}")
        _require(self.max_skipped_steps >= 1,
                 f"`max_skipped_steps` must be at least 1; received {self.max_skipped_steps}")
        _require(self.spike_threshold is None or self.spike_threshold > 0,
                 f"`spike_threshold` must be above 0 or None; received {self.spike_threshold}")
        for name in ("muon_momentum", "ema_momentum"):
            value = getattr(self, name)
            _require(value is None or 0 <= value < 1, f"`{name}` must be in [0, 1); received {value}")
        _require(0 < self.decay_ratio <= 1, f"`decay_ratio` must be in (0, 1]; received {self.decay_ratio}")
        _require(self.global_batch_size is None or self.global_batch_size >= 1,
                 f"`global_batch_size` must be at least 1 or None; received {self.global_batch_size}")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


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

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Builds a configuration from nested mappings; a part left out keeps its defaults."""
        parts = resolve_keys(values, {"model", "training"}, "Config")
        for name, part in parts.items():
            _require(isinstance(part, Mapping), f"`{name}` must be a mapping; received {part!r}")
        return cls(
            model=ModelConfig(**parts.get("model", {})),
            training=TrainingConfig(**parts.get("training", {})),
        )

    def save(self, path: str | pathlib.Path) -> None:
        """Writes YAML, or JSON where the name ends in `.json`."""
        path = pathlib.Path(path)
        text = (json.dumps(self.to_dict(), indent=2) if path.suffix == ".json"
                else yaml.safe_dump(self.to_dict(), sort_keys=False))
        path.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | pathlib.Path) -> Config:
        """Reads what `save` wrote, or a YAML or JSON file made by hand."""
        return cls.from_dict(read_yaml(path))


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
        "vocab_size": 512, "embedding_dim": 128, "num_reasoning_blocks": 2, "max_seq_length": 256,
        "num_moe_experts": 4, "num_heads": 2, "expert_dim": 256,
    },
    "highnoon-tiny": {
        "vocab_size": 4096, "embedding_dim": 192, "num_reasoning_blocks": 2, "max_seq_length": 1024,
        "num_moe_experts": 8, "block_pattern": _TWO_PAIRS, "num_heads": 3, "expert_dim": 256,
    },
    "highnoon-small": {
        "vocab_size": 32000, "embedding_dim": 512, "num_reasoning_blocks": 4, "num_moe_experts": 4,
        "block_pattern": _TWO_PAIRS, "num_heads": 8, "num_kv_heads": 4, "expert_dim": 2048,
    },
    "highnoon-base": {
        "vocab_size": 32000, "embedding_dim": 768, "num_reasoning_blocks": 6, "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS, "num_heads": 12, "num_kv_heads": 4, "expert_dim": 1408,
    },
    "highnoon-large": {
        "vocab_size": 32000, "embedding_dim": 1280, "num_reasoning_blocks": 8, "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS, "num_heads": 20, "num_kv_heads": 4, "expert_dim": 1824,
    },
    "highnoon-3b": {
        "vocab_size": 32000, "embedding_dim": 2048, "num_reasoning_blocks": 12, "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS, "num_heads": 16, "num_kv_heads": 4, "expert_dim": 2304,
    },
    "highnoon-7b": {
        "vocab_size": 32000, "embedding_dim": 3072, "num_reasoning_blocks": 16, "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS, "num_heads": 24, "num_kv_heads": 6, "expert_dim": 1728,
    },
    "highnoon-13b": {
        "vocab_size": 32000, "embedding_dim": 4096, "num_reasoning_blocks": 20, "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS, "num_heads": 32, "num_kv_heads": 8, "expert_dim": 1920,
    },
    "highnoon-20b": {
        "vocab_size": 32000, "embedding_dim": 4096, "num_reasoning_blocks": 24, "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS, "num_heads": 32, "num_kv_heads": 8, "expert_dim": 2496,
    },
}


def get_preset_config(name: str, **overrides: Any) -> Config:
    """Returns the configuration of a preset, with model or training fields overridden by keyword.

    Raises:
        ConfigError: an unknown preset or override, naming the nearest known one.
    """
    canonical = name if name in PRESETS else f"highnoon-{name}"
    if canonical not in PRESETS:
        near = difflib.get_close_matches(canonical, PRESETS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else ""
        raise ConfigError(f"no preset `{name}` {hint} (presets: {', '.join(PRESETS)})")
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
