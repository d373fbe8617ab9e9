"""The configuration of a model together with that of its training."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import yaml

from highnoon.config.config_error import ConfigError
from highnoon.config.keys import resolve_keys, with_aliases
from highnoon.config.model_config import ModelConfig
from highnoon.config.ranges import require
from highnoon.config.training_config import TrainingConfig
from highnoon.config.yaml_files import read_yaml
from highnoon.files.expand_home import expand_home
from highnoon.files.name_path import name_path
from highnoon.files.shown import shown


@with_aliases
@dataclasses.dataclass(frozen=True)
class Config:
    """A model and how it is trained.

    Example:

    ```python
    config = Config(model=ModelConfig(embedding_dim=256), training=TrainingConfig(batch_size=4))
    config.save("run.yaml")
    assert Config.load("run.yaml") == config
    ```
    """

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        for name, kind in (("model", ModelConfig), ("training", TrainingConfig)):
            value = getattr(self, name)
            require(isinstance(value, kind), f"`{name}` must be a {kind.__name__}; received {shown(value)}")

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model.to_dict(), "training": self.training.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Builds a configuration from nested mappings; a part left out keeps its defaults."""
        parts = resolve_keys(values, {"model", "training"}, "Config")
        for name, part in parts.items():
            require(isinstance(part, Mapping), f"`{name}` must be a mapping; received {shown(part)}")
        return cls(
            model=_from_mapping(ModelConfig, parts.get("model", {})),
            training=_from_mapping(TrainingConfig, parts.get("training", {})),
        )

    def save(self, path: str | pathlib.Path) -> None:
        """Writes YAML, or JSON where the name ends in `.json`."""
        path = expand_home(path)
        text = (
            json.dumps(self.to_dict(), indent=2)
            if path.suffix == ".json"
            else yaml.safe_dump(self.to_dict(), sort_keys=False)
        )
        with name_path(path):
            path.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | pathlib.Path) -> Config:
        """Reads what `save` wrote, or a YAML or JSON file made by hand.

        Raises:
            ConfigError: no such file, an unknown key, or a value out of its range.
        """
        values = read_yaml(path)
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


def _from_mapping(cls: Callable[..., Any], values: Mapping[Any, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(cast(Any, cls))}
    return cls(**resolve_keys(values, known, cast(Any, cls).__name__))


def override(config: Config, **overrides: Any) -> Config:
    """Returns `config` with fields replaced; each field name belongs to the model or to training.

    A field of both (`max_seq_length`) changes the model's.
    """
    model_fields = {field.name for field in dataclasses.fields(ModelConfig)}
    training_fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    values = resolve_keys(overrides, model_fields | training_fields, "Config")
    model = {key: value for key, value in values.items() if key in model_fields}
    training = {key: value for key, value in values.items() if key not in model_fields}
    return Config(
        model=dataclasses.replace(config.model, **model),
        training=dataclasses.replace(config.training, **training),
    )
