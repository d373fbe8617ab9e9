"""The settings of PEFT's `adapter_config.json`: those that HighNoon honours, and those that it refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from highnoon.files.shown import shown
from highnoon.models.adapters.adapter_file import AdapterError

# Settings that say which modules have factors, as the tensors' names do, or nothing of what is computed.
_WITHOUT_EFFECT = (
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
)
_HONOURED = ("alpha_pattern", "lora_alpha", "lora_dropout", "r", "rank_pattern", "use_rslora")
# Initializations that leave the base's weights as they are; others, such as "pissa", change them.
_INITIALIZATIONS = (True, False, None, "gaussian", "eva", "orthogonal")
_PLAIN_KEY = re.compile(r"[\w.]+")


class PeftSettings:
    """Reads the values of `adapter_config.json`.

    Args:
        values: Of the file.
        source: The file's path, for errors.

    Raises:
        AdapterError: another kind of adapter, a feature that HighNoon does not have, or a value of another
            type.
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self._values, self._source = values, source
        if values.get("peft_type") != "LORA":
            raise AdapterError(
                f"{source} is of peft_type {shown(values.get('peft_type'))}; HighNoon loads LORA"
            )
        initialization = values.get("init_lora_weights", True)
        if initialization not in _INITIALIZATIONS:
            raise self._refusal("init_lora_weights", initialization, "it changes the weights of the base")
        if values.get("bias", "none") != "none":
            raise self._refusal("bias", values["bias"], "an adapter here holds factors alone")
        for name, value in values.items():
            known = (*_WITHOUT_EFFECT, *_HONOURED, "peft_type", "init_lora_weights", "bias")
            if name not in known and value not in (None, False, {}, [], ""):
                raise self._refusal(name, value, "HighNoon does not have it")
        self.uses_rslora = bool(values.get("use_rslora", False))
        self.dropout = self._number("lora_dropout", values.get("lora_dropout", 0.0), least=0)
        self._rank_pattern = self._pattern("rank_pattern")
        self._alpha_pattern = self._pattern("alpha_pattern")

    def rank(self, module: str) -> int:
        """Returns the rank of a module's factors."""
        value = self._of("r", 8, self._rank_pattern, module)
        if type(value) is not int or value < 1:
            raise AdapterError(
                f"{self._source}: the rank must be an integer of at least 1; received {shown(value)}"
            )
        return value

    def alpha(self, module: str) -> float:
        """Returns the numerator of the scale of a module's factors."""
        return self._number("lora_alpha", self._of("lora_alpha", 8, self._alpha_pattern, module))

    def _of(self, name: str, default: Any, pattern: Mapping[str, Any], module: str) -> Any:
        """The value of the first key of a pattern that ends the module's name, or the common one."""
        for key, value in pattern.items():
            if module == key or module.endswith(f".{key}"):
                return value
        return self._values.get(name, default)

    def _pattern(self, name: str) -> dict[str, Any]:
        pattern = self._values.get(name) or {}
        if not isinstance(pattern, dict):
            raise AdapterError(f"{self._source}: `{name}` must be a mapping; received {shown(pattern)}")
        # PEFT reads the keys as regular expressions; a foreign one may take forever to match.
        plain = {key.removeprefix("^").replace("\\.", "."): value for key, value in pattern.items()}
        wrong = [key for key in plain if not _PLAIN_KEY.fullmatch(key)]
        if wrong:
            raise self._refusal(name, wrong[0], "only names of modules and their ends are read")
        return plain

    def _number(self, name: str, value: Any, least: float | None = None) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
            raise AdapterError(f"{self._source}: `{name}` must be a number; received {shown(value)}")
        if least is not None and value < least:
            raise AdapterError(f"{self._source}: `{name}` must be at least {least}; received {shown(value)}")
        return value

    def _refusal(self, name: str, value: Any, reason: str) -> AdapterError:
        return AdapterError(
            f"{self._source} has `{name}` {shown(value)}, and {reason}; merge the adapter by PEFT's "
            "`merge_and_unload` and load the result"
        )
