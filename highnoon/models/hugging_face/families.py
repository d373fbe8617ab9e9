"""The published families that HighNoon reads and writes, and which of them a model belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError, ModelConfig
from highnoon.files.shown import shown
from highnoon.models.hugging_face.deepseek import DEEPSEEK_V2, DEEPSEEK_V3
from highnoon.models.hugging_face.family import Family
from highnoon.models.hugging_face.gemma import GEMMA, GEMMA2
from highnoon.models.hugging_face.gpt2 import GPT2
from highnoon.models.hugging_face.llama import LLAMA, MISTRAL
from highnoon.models.hugging_face.mamba import MAMBA
from highnoon.models.hugging_face.mamba2 import MAMBA2
from highnoon.models.hugging_face.meaning import meaning
from highnoon.models.hugging_face.mixtral import MIXTRAL
from highnoon.models.hugging_face.phi3 import PHI3
from highnoon.models.hugging_face.qwen2 import QWEN2
from highnoon.models.hugging_face.qwen3 import QWEN3
from highnoon.models.hugging_face.qwen3_moe import QWEN3_MOE
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.saving import ModelFolderError

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        LLAMA,
        MISTRAL,
        MIXTRAL,
        QWEN2,
        QWEN3,
        QWEN3_MOE,
        PHI3,
        GEMMA,
        GEMMA2,
        GPT2,
        DEEPSEEK_V2,
        DEEPSEEK_V3,
        MAMBA,
        MAMBA2,
    )
}


def family_of(values: Mapping[str, Any], source: str) -> Family:
    """Returns the family that a `config.json` names.

    Raises:
        ModelFolderError: a `model_type` that is none of `FAMILIES`.
    """
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelFolderError(
            f"{source} is of model_type {shown(model_type)}; HighNoon loads {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def read_config(family: Family, values: Mapping[str, Any], source: str) -> ModelConfig:
    """Returns the configuration that a `config.json` describes.

    Raises:
        ModelFolderError: a setting that is missing, unknown or not supported.
    """
    settings = Settings(values, source)
    fields = family.read(settings)
    settings.finish()
    try:
        return ModelConfig(**fields)
    except ConfigError as error:
        raise ModelFolderError(f"{source} needs what HighNoon does not support: {error}") from error


def family_for(config: ModelConfig, preferred: str | None = None) -> tuple[Family, dict[str, Any]]:
    """Returns the family that computes what a model of `config` does, and its settings for it.

    A family fits where its settings, read again, mean the same, so that no difference is lost.

    Args:
        config: The model's configuration.
        preferred: The `model_type` that is tried first.

    Raises:
        ModelFolderError: there is none; the message lists the patterns of each family, or what prevents it.
    """
    wanted, reasons = meaning(config), []
    for family in sorted(FAMILIES.values(), key=lambda family: family.model_type != preferred):
        try:
            values = family.write(config)
            got = meaning(read_config(family, values, family.model_type))
        except ModelFolderError as error:
            reasons.append(f"{family.model_type}: {error}")
            continue
        if got == wanted:
            return family, values
        if got["layers"] == wanted["layers"]:
            reasons.append(f"{family.model_type} does not support {', '.join(_differences(wanted, got))}")
    patterns = "; ".join(f"{family.patterns} ({name})" for name, family in FAMILIES.items())
    why = f" Reasons: {'; '.join(reasons)}." if reasons else ""
    raise ModelFolderError(
        f"`block_pattern` {config.block_pattern!r} with these settings is no model of transformers.{why} "
        f"These patterns can be exported: {patterns}"
    )


def _differences(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in wanted.items() if got.get(name) != value]
