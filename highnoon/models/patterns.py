"""The grammar of a reasoning block, and the parts that its words name.

A block pattern lists residual pairs, `"mixer+feedforward, mixer+feedforward, ..."`, or is the name
of such a list. A mixer may stand alone, as the layers of Mamba do. Options that belong to one part may
follow its name in parentheses; they replace the model's own for this part:

```python
from highnoon.config import ModelConfig
from highnoon.models.patterns import bind_pattern, parse_pattern

assert parse_pattern("mamba2+moe, attention+mlp") == [("mamba2", "moe"), ("attention", "mlp")]
assert parse_pattern("mamba, attention+mlp") == [("mamba", None), ("attention", "mlp")]
assert parse_pattern("transformer") == [("attention", "mlp")]

pattern = "mamba2(state_dim=32)+moe(num_experts=16), attention+mlp"
(mamba2, moe), _ = bind_pattern(ModelConfig(block_pattern=pattern))
assert mamba2.config.state_dim == 32 and moe.config.num_moe_experts == 16
```
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from highnoon.config import ALIASES, ConfigError, ModelConfig
from highnoon.files.nearest_name import MAX_CHARACTERS, nearest_name, suggestion
from highnoon.files.shown import shown
from highnoon.models.parts import (
    PARTS,
    BoundPart,
    FeedForwardPart,
    MixerPart,
    Part,
    feed_forward_names,
    mixer_names,
)
from highnoon.models.pattern_text import MAX_LAYERS, NAMED_PATTERNS, PartText, split_pattern

__all__ = ["MAX_LAYERS", "NAMED_PATTERNS", "bind_pattern", "parse_pattern", "require_causal"]


def parse_pattern(pattern: str) -> list[tuple[str, str | None]]:
    """Returns the (mixer, feed-forward or None) pairs of one reasoning block, by name, without options.

    Raises:
        ConfigError: an unknown name or option, an entry that is not `mixer` or `mixer+feedforward`, or more
            than `MAX_LAYERS` entries.
    """
    return [
        (mixer.name, feed_forward.name if feed_forward else None)
        for mixer, feed_forward in _checked_pairs(pattern)
    ]


def bind_pattern(config: ModelConfig) -> list[tuple[BoundPart, BoundPart | None]]:
    """Returns the (mixer, feed-forward or None) pairs of a model's block, each with its configuration.

    Raises:
        ConfigError: as `parse_pattern`, or an option's value is out of its range.
    """
    bound: dict[str, BoundPart] = {}

    def bind(text: PartText) -> BoundPart:
        if str(text) not in bound:
            bound[str(text)] = _bind(text, config)
        return bound[str(text)]

    return [
        (bind(mixer), bind(feed_forward) if feed_forward else None)
        for mixer, feed_forward in _checked_pairs(config.block_pattern)
    ]


def require_causal(config: ModelConfig) -> None:
    """Checks that no mixer of a model lets a token see later ones.

    Raises:
        ConfigError: one does.
    """
    for mixer, _ in bind_pattern(config):
        if not mixer.part.is_causal:
            raise ConfigError(
                f"the mixer `{mixer.name}` lets tokens see later ones, so a model with it cannot generate; "
                'use a causal mixer, or pass task="classification", "embedding" or "block_diffusion"'
            )


def _checked_pairs(pattern: str) -> list[tuple[PartText, PartText | None]]:
    pairs: list[tuple[PartText, PartText | None]] = []
    known: dict[str, Any] = {}
    for entry in split_pattern(pattern):
        for text in entry:
            if text.name not in known:
                known[text.name] = PARTS[text.name] if text.name in PARTS else None
        mixer, *rest = entry
        if (
            not _is(known[mixer.name], MixerPart)
            or len(rest) > 1
            or any(not _is(known[text.name], FeedForwardPart) for text in rest)
        ):
            received = shown("+".join(map(str, entry)))
            raise ConfigError(
                f"`block_pattern` {shown(pattern)} has no layer for {received}; write entries `mixer` or "
                f"`mixer+feedforward` of the mixers {', '.join(mixer_names())} and the feed-forwards "
                f"{', '.join(feed_forward_names())}, or a name: {', '.join(NAMED_PATTERNS)}"
                f"{_unregistered(entry, known)}"
            )
        if rest and known[mixer.name].is_whole_block:
            raise ConfigError(
                f"`block_pattern` {shown(pattern)} has {shown('+'.join(map(str, entry)))}, and "
                f"`{mixer.name}` is a complete block, without a feed-forward; write `{mixer.name}` alone"
            )
        for text in entry:
            if text.options:
                _split_options(text, known[text.name])
        pairs.append((mixer, rest[0] if rest else None))
    return pairs


def _unregistered(entry: list[PartText], known: dict[str, Any]) -> str:
    """Returns what to do about the first name that no part has, as the end of a message; "" for none."""
    for name in (text.name for text in entry):
        if known[name] is None and name.isidentifier() and len(name) <= MAX_CHARACTERS:
            near = nearest_name(name, PARTS.names())
            hint = "" if near is None else f" (did you mean `{near}`?)"
            return (
                f"; no layer is registered as `{name}`{hint}; import the module that registers it, or "
                f"declare an entry point in the group `{PARTS.group}`"
            )
    return ""


def _is(cls: Any, kind: type[Part]) -> bool:
    return cls is not None and issubclass(cls, kind)


def _split_options(text: PartText, cls: type[Part]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the options that are the part's own, and those that are fields of the configuration."""
    own_names = _own_options(cls)
    own, fields = {}, {}
    for name, value in text.options.items():
        field = name if name in cls.fields else ALIASES.get(name, name)
        if name in own_names:
            own[name] = value
        elif field in fields:
            raise ConfigError(f"`{text.name}` has `{field}` twice in a block pattern; write it once")
        elif field in cls.fields:
            fields[field] = value
        else:
            known = [*own_names, *cls.fields]
            option = shown(name)[1:-1]
            hint = ""
            if nearest_name(name, known) is None and not cls.__module__.startswith("highnoon."):
                hint = f"; give the constructor of its part an argument `{option}`"
            raise ConfigError(
                f"`{text.name}` has no option `{option}` in a block pattern; "
                f"{suggestion(name, known, 'its options')}{hint}"
            )
    return own, fields


def _own_options(cls: type[Part]) -> list[str]:
    if cls.__init__ is object.__init__:
        return []
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _bind(text: PartText, config: ModelConfig) -> BoundPart:
    own, fields = _split_options(text, PARTS[text.name])
    try:
        part = PARTS[text.name](**own)
        config = dataclasses.replace(config, **fields) if fields else config
    except (TypeError, ValueError) as error:
        raise ConfigError(f"`block_pattern` has {shown(str(text))}: {error}") from error
    return BoundPart(text.name, str(text), part, config)
