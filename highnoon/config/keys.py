"""Names of configuration keys: canonical names, their aliases, and errors about unknown ones."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from highnoon.config.config_error import ConfigError
from highnoon.files.nearest_name import MAX_CHARACTERS, names_in_short, nearest_name
from highnoon.files.shown import shown

_Config = TypeVar("_Config", bound=type)

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
    "fault_ladder": "on_repeated_faults",
    "name": "run_name",
    "log_freq": "log_interval",
    "eval_freq": "eval_interval",
    "save_freq": "checkpoint_interval",
}


def resolve_keys(values: Mapping[str, Any], known: set[str], owner: str) -> dict[str, Any]:
    """Returns `values` under canonical names.

    Raises:
        ConfigError: `values` is not a mapping, a key is neither in `known` nor an alias of one, or two keys
            name one field. The error names the line of the key where `values` comes from a file, see
            `highnoon.files.yaml_loader.LocatedMapping`.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{owner} must be a mapping of keys; received {shown(values)}")
    resolved: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in values.items():
        if not isinstance(key, str) or len(key) > MAX_CHARACTERS:
            raise ConfigError(
                f"{owner} has the key {shown(key)}; known keys: {names_in_short(sorted(known))}"
            )
        name = key if key in known else ALIASES.get(key, key)
        if name not in known:
            spellings = [*sorted(known), *(alias for alias, field in ALIASES.items() if field in known)]
            near = nearest_name(key, spellings)
            hint = (
                f"did you mean `{near}`?"
                if near is not None
                else f"known keys: {names_in_short(sorted(known))}"
            )
            line = getattr(values, "lines", {}).get(key)
            location = "" if line is None else f"line {line}: "
            raise ConfigError(f"{location}{owner} has no key `{key}`; {hint}")
        if name in resolved:
            raise ConfigError(
                f"{owner} got `{spelled[name]}` and `{key}`, which name the same field "
                f"`{name}`; give one of them"
            )
        resolved[name], spelled[name] = value, key
    return resolved


def canonical_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a saved configuration under today's names, without checking it."""
    return {ALIASES.get(key, key): value for key, value in values.items()}


def with_aliases(cls: _Config) -> _Config:
    """Lets a dataclass be constructed with alias keywords."""
    known = {field.name for field in dataclasses.fields(cls)}
    plain_init: Callable[..., None] = cls.__init__  # type: ignore[misc]

    @functools.wraps(plain_init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        plain_init(self, *args, **resolve_keys(kwargs, known, cls.__name__))

    cls.__init__ = __init__  # type: ignore[misc]
    return cls
