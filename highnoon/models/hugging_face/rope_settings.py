"""Rotary settings of published configurations, in both of their formats."""

from __future__ import annotations

from typing import Any

from highnoon.config import ConfigError, ModelConfig
from highnoon.files.shown import shown
from highnoon.layers.attention.rope_frequencies import check_rope_scaling
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.saving import ModelFolderError


def read_rope(settings: Settings, max_seq_length: int, default_theta: float = 10000.0) -> dict[str, Any]:
    """Returns `rope_theta` and `rope_scaling` from `rope_parameters`, or from the two older keys.

    Raises:
        ModelFolderError: a scaling that `highnoon.layers.RotaryEmbedding` does not support.
    """
    theta = settings.number("rope_theta", default=None)
    given = settings.mapping("rope_parameters", "rope_scaling", default=None) or {}
    scaling = {key: value for key, value in given.items() if key not in ("type", "rope_theta")}
    if scaling.get("partial_rotary_factor") == 1:
        del scaling["partial_rotary_factor"]
    scaling.setdefault("rope_type", given.get("type", "default"))
    if given.get("rope_theta") is not None:
        theta = settings.require_number("rope_theta", given["rope_theta"])
    theta = default_theta if theta is None else theta
    if scaling["rope_type"] == "default":
        numbers = sorted(key for key, value in scaling.items() if key != "rope_type" and value is not None)
        if numbers:
            raise ModelFolderError(
                f"`rope_parameters` of type 'default' takes rope_theta alone; received {shown(numbers)}"
            )
        return {"rope_theta": theta, "rope_scaling": None}
    if scaling["rope_type"] in ("llama3", "yarn"):
        scaling.setdefault("original_max_position_embeddings", max_seq_length)
    try:
        if scaling["rope_type"] == "longrope":
            raise ValueError("`rope_scaling` of type 'longrope' is read in Phi-3 alone")
        check_rope_scaling(theta, scaling)
    except ValueError as error:
        raise ModelFolderError(f"unsupported rotary positions: {error}") from error
    return {"rope_theta": theta, "rope_scaling": scaling}


def write_rope(config: ModelConfig) -> dict[str, Any]:
    """Returns the settings that `read_rope` reads."""
    return {"rope_parameters": {"rope_theta": config.rope_theta, **same_rope(config.rope_scaling)}}


def same_rope(scaling: dict[str, Any] | None) -> dict[str, Any]:
    """Returns a scaling in one format, so that equal scalings are equal."""
    if scaling is None:
        return {"rope_type": "default"}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind is None:
        raise ConfigError(f"`rope_scaling` needs a `rope_type`; received {scaling}")
    numbers = {
        key: value
        for key, value in scaling.items()
        if key not in ("rope_type", "type", "rope_theta") and value is not None
    }
    return {"rope_type": kind, **numbers}
