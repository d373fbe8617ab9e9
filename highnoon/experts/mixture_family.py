"""The family of mixtures: described by their router and their experts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import keras

from highnoon.config import ConfigError
from highnoon.experts.mixture import MixtureOfModels
from highnoon.files.nearest_name import unknown_name
from highnoon.files.shown import shown
from highnoon.models.families import Family, family_named
from highnoon.models.saving import ModelFolderError, describe_model

_HASHES = ("expert_hashes", "transformer_hash")


class MixtureFamily(Family):
    """Mixtures of frozen language models.

    The description holds that of the router, and of each expert either its own description, with its weights
    in the file of the mixture, or its `path` and the `hash` of its weights.
    """

    model_class: ClassVar[Any] = MixtureOfModels

    def create(self, dtype: Any = "auto", allow_oversize: bool = False, **fields: Any) -> Any:
        """Returns a mixture of existing experts; `dtype` is that of a new router."""
        if not (isinstance(dtype, str) and dtype == "auto"):
            fields["dtype"] = dtype
        try:
            return self.model_class(**fields)
        except TypeError as error:
            raise ConfigError(f"`{self.name}` cannot be created from these arguments: {error}") from error

    def describe(self, model: keras.Model) -> dict[str, Any]:
        if model.contains_experts:
            experts = [_described(expert) for expert in model.experts]
        else:
            model.require_unchanged()
            pairs = zip(model.expert_paths, model.expert_hashes, strict=True)
            experts = [{"path": os.path.abspath(path), "hash": found} for path, found in pairs]
        options = {"options": model.options} if model.options else {}
        return {"router": _described(model.router), "experts": experts, **options}

    def check(self, description: dict[str, Any]) -> None:
        experts = description.get("experts")
        if not isinstance(experts, list) or len(experts) < 2:
            raise ConfigError(f"`experts` must be a list of at least two; received {shown(experts)}")
        self._require_options(description.get("options", {}))
        for part in (description.get("router"), *experts):
            if not isinstance(part, dict):
                raise ConfigError(f"router and experts must be mappings; received {shown(part)}")
        family_named(description["router"].get("family", "")).check(description["router"])
        for part in experts:
            if _is_named(part):
                _require_name(part)
            else:
                family_named(part.get("family", "")).check(part)
        if len({_is_named(expert) for expert in experts}) > 1:
            raise ConfigError("`experts` must all be contained or all be named by `path` and `hash`")

    def _require_options(self, options: Any) -> None:
        if not isinstance(options, dict):
            raise ConfigError(f"`options` must be a mapping; received {shown(options)}")
        for name in options:
            if name not in self.model_class.option_names:
                raise ConfigError(unknown_name("option", name, self.model_class.option_names))

    def require_memory(self, description: dict[str, Any], num_bytes: int, allow_oversize: bool) -> None:
        super().require_memory(description, num_bytes, allow_oversize)
        for part in (description["router"], *description["experts"]):
            if not _is_named(part):
                family_named(part["family"]).require_memory(part, num_bytes, allow_oversize)

    def make(self, description: dict[str, Any], dtype: Any = "auto") -> Any:
        experts, options = description["experts"], description.get("options", {})
        router = _made(description["router"], dtype)
        if not _is_named(experts[0]):
            # The weights follow: their hashes are not yet those that router and diffuser were trained with.
            parts = [_made(expert, dtype) for expert in experts]
            with _without_hashes([router, *parts]):
                return self.model_class(parts, router, **options)
        paths, hashes = ([expert[key] for expert in experts] for key in ("path", "hash"))
        try:
            return self.model_class(paths, router, contains_experts=False, expert_hashes=hashes, **options)
        except ConfigError as error:
            raise ModelFolderError(f"a mixture names its experts, and one cannot be used: {error}") from error


def _is_named(part: dict[str, Any]) -> bool:
    return "path" in part


def _require_name(part: dict[str, Any]) -> None:
    for key in ("path", "hash"):
        if not isinstance(part.get(key), str):
            raise ConfigError(f"an expert must be named by `path` and `hash`; received {shown(part)}")


def _described(model: keras.Model) -> dict[str, Any]:
    description = describe_model(model)
    if "family" not in description:
        raise ModelFolderError(
            f"a {type(model).__name__} cannot be loaded again by name; register its class by register_family"
        )
    return description


def _made(values: dict[str, Any], dtype: Any) -> keras.Model:
    model = family_named(values["family"]).make(values, dtype)
    if outputs := values.get("outputs"):
        model.outputs_description = outputs
    return model


@contextlib.contextmanager
def _without_hashes(models: Sequence[keras.Model]) -> Iterator[None]:
    """Within it, no model says which weights others must have."""
    outputs = [getattr(model, "outputs_description", None) for model in models]
    for model, found in zip(models, outputs, strict=True):
        if found:
            kept = {key: value for key, value in found.items() if key not in _HASHES}
            model.outputs_description = kept or None
    try:
        yield
    finally:
        for model, found in zip(models, outputs, strict=True):
            if found:
                model.outputs_description = found
