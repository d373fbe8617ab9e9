"""The family of mixtures: described by their router and their experts."""

from __future__ import annotations

import os
from typing import Any

import keras

from highnoon.config import ConfigError, require_count
from highnoon.experts.mixture import MixtureOfModels
from highnoon.files.shown import shown
from highnoon.models.families import Family, family_named
from highnoon.models.saving import ModelFolderError, describe_model


class MixtureFamily(Family):
    """Mixtures of frozen language models.

    The description holds that of the router, and of each expert either its own description, with its weights
    in the file of the mixture, or its `path` and the `hash` of its weights.
    """

    model_class = MixtureOfModels

    def create(self, dtype: Any = "auto", allow_oversize: bool = False, **fields: Any) -> MixtureOfModels:
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
        top_k = {} if model.top_k is None else {"top_k": model.top_k}
        return {"router": _described(model.router), "experts": experts, **top_k}

    def check(self, description: dict[str, Any]) -> None:
        experts = description.get("experts")
        if not isinstance(experts, list) or len(experts) < 2:
            raise ConfigError(f"`experts` must be a list of at least two; received {shown(experts)}")
        for part in (description.get("router"), *experts):
            if not isinstance(part, dict):
                raise ConfigError(f"router and experts must be mappings; received {shown(part)}")
            if _is_named(part):
                _require_name(part)
                continue
            family_named(part.get("family", "")).check(part)
        if "top_k" in description:
            require_count("top_k", description["top_k"], most=len(experts))
        if len({_is_named(expert) for expert in experts}) > 1:
            raise ConfigError("`experts` must all be contained or all be named by `path` and `hash`")

    def make(self, description: dict[str, Any], dtype: Any = "auto") -> MixtureOfModels:
        experts, top_k = description["experts"], description.get("top_k")
        router = _made(description["router"], dtype)
        if not _is_named(experts[0]):
            # The weights follow, so their hashes are not yet those that the router was trained with.
            trained_with, router.outputs_description = getattr(router, "outputs_description", None), None
            mixture = self.model_class([_made(expert, dtype) for expert in experts], router, top_k=top_k)
            router.outputs_description = trained_with
            return mixture
        paths, hashes = ([expert[key] for expert in experts] for key in ("path", "hash"))
        try:
            return self.model_class(paths, router, contains_experts=False, expert_hashes=hashes, top_k=top_k)
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
