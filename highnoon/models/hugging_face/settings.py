"""A published `config.json`, read key by key so that nothing in it is passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.models.saving import ModelFolderError

# What no logit depends on: bookkeeping, special ids (the tokenizer's), and training alone.
_WITHOUT_EFFECT = (
    "model_type", "architectures", "transformers_version", "highnoon_version", "_name_or_path", "auto_map",
    "transformers.js_config",
    "torch_dtype", "dtype", "use_cache", "return_dict", "output_attentions", "output_hidden_states",
    "output_router_logits", "initializer_range", "bos_token_id", "eos_token_id", "pad_token_id",
    "attention_dropout", "router_aux_loss_coef", "router_jitter_noise", "pretraining_tp",
)


class Settings:
    """Hands out settings and refuses what is missing, not supported, or never asked for.

    Args:
        values: The parsed `config.json`.
        source: Where they stand, for messages.

    Raises:
        ModelFolderError: by every method, where a setting cannot be followed.

    Example:

    ```python
    from highnoon.models.hugging_face.settings import Settings

    settings = Settings({"hidden_size": 8, "hidden_act": "silu"}, "config.json")
    assert settings.take("hidden_size") == 8
    settings.require("hidden_act", "silu")
    settings.finish()
    ```
    """

    _MISSING = object()

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self._values = dict(values)
        self._source = source
        self._read = set(_WITHOUT_EFFECT)
        self.require("quantization_config", None)

    def take(self, *names: str, default: Any = _MISSING) -> Any:
        """Returns the setting under the first of `names` that is there, else `default`."""
        self._read.update(names)
        for name in names:
            if name in self._values:
                return self._values[name]
        if default is self._MISSING:
            raise ModelFolderError(f"{self._source} has no `{names[0]}`; give the model's whole config.json")
        return default

    def require(self, name: str, *allowed: Any) -> None:
        """Refuses any value but the allowed ones; an absent setting is fine."""
        self._read.add(name)
        value = self._values.get(name, allowed[0])
        if not any(value == one for one in allowed):
            listed = " or ".join(repr(one) for one in allowed)
            raise ModelFolderError(
                f"{self._source} has `{name}`={value!r}, and HighNoon's layers have only {listed} there; "
                "this model cannot be loaded"
            )

    def ignore(self, *names: str) -> None:
        """Marks settings that change no logit."""
        self._read.update(names)

    def finish(self) -> None:
        """Refuses settings that nobody has asked for: what they change is not known."""
        given = {name for name, value in self._values.items() if value is not None}
        unread = sorted(given - self._read)
        if unread:
            raise ModelFolderError(
                f"{self._source} has settings that are not known here: {', '.join(unread)}; if no "
                "logit depends on them, take them out of config.json"
            )
