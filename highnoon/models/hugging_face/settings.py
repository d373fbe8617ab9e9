"""Reads a published `config.json` key by key, checks each value, and reports keys that nothing reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from highnoon.files.shown import shown
from highnoon.models.patterns import MAX_LAYERS
from highnoon.models.saving import ModelFolderError

# No logit depends on these: bookkeeping, special ids (the tokenizer's), and training alone.
_WITHOUT_EFFECT = (
    "model_type",
    "architectures",
    "transformers_version",
    "highnoon_version",
    "_name_or_path",
    "auto_map",
    "transformers.js_config",
    "torch_dtype",
    "dtype",
    "use_cache",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "attention_dropout",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "pretraining_tp",
)
_LISTED = 8
_LONGEST_LIST = 100_000
LARGEST_SIZE = 2**53 - 1  # the largest integer that a JSON number holds exactly
_MISSING: Any = object()


class Settings:
    """Returns settings, and rejects those that are missing, unsupported, of another type, or never read.

    A method's `default` is returned where the setting is absent; without one, an absent setting is an error.
    Null is accepted only where the default is None, or with `or_null`.

    Args:
        values: The parsed `config.json`.
        source: The file's path, for messages.

    Raises:
        ModelFolderError: from every method, where a setting is not supported. The message names the file,
            the setting, what was expected and what was received.

    Example:

    ```python
    from highnoon.models.hugging_face.settings import Settings

    settings = Settings({"hidden_size": 8, "hidden_act": "silu"}, "config.json")
    assert settings.count("hidden_size") == 8
    settings.require("hidden_act", "silu")
    settings.finish()
    ```
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self._values = dict(values)
        self._source = source
        self._read = set(_WITHOUT_EFFECT)
        self.require("quantization_config", None)

    def count(
        self,
        *names: str,
        default: Any = _MISSING,
        low: int = 1,
        high: int = LARGEST_SIZE,
        or_null: bool = False,
    ) -> Any:
        """Returns the integer under the first of `names` that is present, from `low` to `high`."""
        name, value = self._find(names, default)
        if value is None and (or_null or default is None):
            return None
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not is_whole or not low <= value <= high:
            self._refuse(name, f"an integer from {low:,} to {high:,}", value)
        return int(value)

    def num_layers(self, *names: str) -> int:
        """Returns `num_hidden_layers` (or `names`), bounded since a list of that length is made later."""
        return self.count(*(names or ("num_hidden_layers",)), high=MAX_LAYERS)

    def number(self, *names: str, default: Any = _MISSING, or_null: bool = False) -> Any:
        """Returns the finite number above 0 under the first of `names` that is present."""
        name, value = self._find(names, default)
        if value is None and (or_null or default is None):
            return None
        return self.require_number(name, value)

    def require_number(self, name: str, value: Any) -> float:
        """Returns a value as a float, where it is a finite number above 0; `name` is for the message."""
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 < value < 1e30 or not math.isfinite(value):
            self._refuse(name, "a finite number above 0", value)
        return float(value)

    def flag(self, name: str, default: Any = _MISSING) -> bool:
        """Returns a boolean."""
        return self._typed(name, default, bool, "true or false")

    def mapping(self, *names: str, default: Any = _MISSING) -> Any:
        """Returns the object under the first of `names` that is present."""
        name, value = self._find(names, default)
        if value is not default and not isinstance(value, dict):
            self._refuse(name, "an object", value)
        return value

    def layer_numbers(self, name: str) -> set[int]:
        """Returns a list of layers, each counted from 0, as a set; none where it is absent or null."""
        value = self._find((name,), None)[1]
        if value is None:
            return set()
        is_list = isinstance(value, list) and len(value) <= _LONGEST_LIST
        if not is_list or not all(type(one) is int and 0 <= one <= LARGEST_SIZE for one in value):
            self._refuse(name, "a list of layers, each an integer from 0", value)
        return set(value)

    def words(self, name: str, allowed: Sequence[str], count: int) -> list[str] | None:
        """Returns a list of `count` words, each one of those allowed; None where it is absent or null."""
        value = self._find((name,), None)[1]
        if value is None:
            return None
        is_list = isinstance(value, list) and len(value) == count
        if not is_list or not all(isinstance(one, str) and one in allowed for one in value):
            self._refuse(name, f"a list of {count:,}, each {' or '.join(allowed)}", value)
        return list(value)

    def text_or_count(self, name: str, text: str) -> Any:
        """Returns an integer of at least 1, or None for `text` and where the setting is absent."""
        if self._values.get(name, text) == text:
            self._read.add(name)
            return None
        return self.count(name)

    def require(self, name: str, *allowed: Any) -> Any:
        """Returns the value, which must be one of those allowed; an absent setting is the first of them."""
        self._read.add(name)
        value = self._values.get(name, allowed[0])
        if not any(value == one for one in allowed):
            listed = " or ".join(repr(one) for one in allowed)
            raise ModelFolderError(
                f"{self._source} has `{name}`={shown(value)}, and HighNoon supports only {listed} "
                "there; this model cannot be loaded"
            )
        return value

    def ignore(self, *names: str) -> None:
        """Marks settings on which no logit depends."""
        self._read.update(names)

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Rejects a setting that does not fit another one."""
        self._refuse(name, expected, self._values.get(name))

    def finish(self) -> None:
        """Rejects settings that nothing has read: their effect is unknown."""
        given = {name for name, value in self._values.items() if value is not None}
        unread = sorted(given - self._read)
        if unread:
            listed = ", ".join(shown(name)[1:-1] for name in unread[:_LISTED])
            more = f" and {len(unread) - _LISTED:,} more" if len(unread) > _LISTED else ""
            raise ModelFolderError(
                f"{self._source} has settings that are not known here: {listed}{more}; if no "
                "logit depends on them, take them out of config.json"
            )

    def _find(self, names: tuple[str, ...], default: Any) -> tuple[str, Any]:
        self._read.update(names)
        for name in names:
            if name in self._values:
                return name, self._values[name]
        if default is _MISSING:
            raise ModelFolderError(
                f"{self._source} has no `{names[0]}`; use the model's complete config.json"
            )
        return names[0], default

    def _typed(self, name: str, default: Any, kind: type, words: str) -> Any:
        value = self._find((name,), default)[1]
        if not isinstance(value, kind):
            self._refuse(name, words, value)
        return value

    def _refuse(self, name: str, expected: str, value: Any) -> NoReturn:
        raise ModelFolderError(f"{self._source}: `{name}` must be {expected}; received {shown(value)}")
