"""The keys of the training guide: their section, the name that they have in a recipe, and their range."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from highnoon.config import require_choice, require_count, require_flag, require_number

Check = Callable[[str, Any], Any]
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
RESETS = ("hard", "soft")
SURROGATES = ("fast_sigmoid", "arctan")
DTYPES = ("auto", "float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")


class GuideKey(NamedTuple):
    """A key of the guide.

    Args:
        name: What a recipe, or an option of a part, calls it.
        check: Called with the key as the user wrote it, and the value; returns the value.
    """

    name: str
    check: Check


def number(**bounds: Any) -> Check:
    """Returns a check of a number, which may be written as a text such as "1e-3"."""
    return lambda key, value: require_number(key, as_number(value), **bounds)


def count(least: int = 1) -> Check:
    """Returns a check of a whole number."""
    return lambda key, value: require_count(key, as_number(value), least=least)


def as_number(value: Any) -> Any:
    """Returns the number that a text is, as YAML 1.1 and JSON have `1e-3`; anything else as it is."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return value
    return int(value) if value.strip().lstrip("+-").isdigit() else float(value)


def choice(*names: str) -> Check:
    """Returns a check of a word."""
    return lambda key, value: require_choice(key, value, names)


def or_none(check: Check) -> Check:
    """Returns a check of a value that may be left out by `null`."""
    return lambda key, value: None if value is None else check(key, value)


def dtype_policy(key: str, value: Any) -> str:
    """Returns the policy of a `dtype`: weights stay in float32, and products are in the type."""
    require_choice(key, value, DTYPES)
    return f"mixed_{value}" if value in ("bfloat16", "float16") else str(value)


MODEL: Mapping[str, GuideKey] = {
    "n_layer": GuideKey("num_reasoning_blocks", count()),
    "n_embd": GuideKey("embedding_dim", count()),
    "n_head": GuideKey("num_heads", count()),
    "dropout": GuideKey("dropout", number(least=0, below=1)),
    "vocab_size": GuideKey("vocab_size", count()),
    "dtype": GuideKey("dtype", dtype_policy),
    "mlp_multiplier": GuideKey("multiplier", count()),
    "mlp_internal_dim_multiplier": GuideKey("multiplier", count()),
}
LIF: Mapping[str, GuideKey] = {
    "tau_mem": GuideKey("tau_mem", number(above=0)),
    "tau_syn": GuideKey("tau_syn", number(above=0)),
    "v_threshold": GuideKey("v_threshold", number(above=0)),
    "v_reset": GuideKey("v_reset", number()),
    "reset": GuideKey("reset", choice(*RESETS)),
    "surrogate": GuideKey("surrogate", choice(*SURROGATES)),
}
STDP: Mapping[str, GuideKey] = {
    "enabled": GuideKey("stdp", require_flag),
    "tau_plus": GuideKey("tau_plus", number(above=0)),
    "tau_minus": GuideKey("tau_minus", number(above=0)),
    "A_plus": GuideKey("a_plus", number(least=0)),
    "A_minus": GuideKey("a_minus", number(least=0)),
    "a_plus": GuideKey("a_plus", number(least=0)),
    "a_minus": GuideKey("a_minus", number(least=0)),
}
BIO: Mapping[str, GuideKey] = {
    "sparsity_target": GuideKey("sparsity_target", number(above=0, most=0.4)),
    "sparsity_weight": GuideKey("sparsity_weight", number(least=0)),
    "excitatory_ratio": GuideKey("excitatory_ratio", or_none(number(least=0, most=1))),
    "scale_free_gamma": GuideKey("scale_free_gamma", or_none(number(above=2))),
    "trace_decay": GuideKey("trace_decay", or_none(number(above=0, below=1))),
}
TRAINING: Mapping[str, GuideKey] = {
    "batch_size": GuideKey("batch_size", count()),
    "max_seq_len": GuideKey("max_seq_length", count()),
    "learning_rate": GuideKey("learning_rate", number(above=0)),
    "weight_decay": GuideKey("weight_decay", number(least=0)),
    "max_iters": GuideKey("max_iters", count()),
    "warmup_iters": GuideKey("warmup_steps", count(least=0)),
    "grad_clip": GuideKey("gradient_clip", or_none(number(above=0))),
}
MONITOR: Mapping[str, GuideKey] = {
    "log_freq": GuideKey("log_interval", count()),
    "eval_freq": GuideKey("eval_interval", count()),
    "save_freq": GuideKey("checkpoint_interval", count()),
    "nan_check": GuideKey("nan_check", require_flag),
    "nan_threshold": GuideKey("max_skipped_steps", count()),
}
SECTIONS: Mapping[str, Mapping[str, GuideKey]] = {
    "model": MODEL,
    "lif": LIF,
    "stdp": STDP,
    "bio": BIO,
    "training": TRAINING,
    "monitor": MONITOR,
}
OWN_SECTIONS = ("lif", "stdp", "bio", "monitor")
"""Sections that the recipes of this package do not have."""

TRAINING_DEFAULTS: Mapping[str, Any] = {
    "batch_size": 32,
    "max_seq_length": 512,
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
    "warmup_steps": 500,
    "gradient_clip": 1.0,
}
"""What the guide's table of defaults says, under the names of a recipe."""
DROPOUT = 0.1
MAX_ITERS = 10_000
