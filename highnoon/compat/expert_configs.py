"""The nine configuration classes of the expert mixture, and all of them as one value.

| class | section of a file | default |
| --- | --- | --- |
| `ModelConfig` | `model` | `d_model=384`, `max_seq_len=512` |
| `TransformerConfig` | `transformer` | `n_layers=6`, `ffn_mult=4` |
| `DiffuserConfig` | `diffuser` | `n_layers=4`, `training_steps=100` |
| `StateSpaceConfig` | `state_space` | `n_layers=6`, `d_state=16` |
| `MLAConfig` | `mla` | `n_experts=3`, `n_heads=6` |
| `TrainExpertConfig` | `train_expert` | `lr=3e-4`, `batch_size=32`, `max_epochs=20` |
| `TrainDiffuserConfig` | `train_diffuser` | `lr=1e-4`, `batch_size=64` |
| `TrainMLAConfig` | `train_mla` | `lr=1e-4`, `batch_size=16`, `max_epochs=30` |
| `DataConfig` | `data` | `tokenizer="gpt2"`, `val_split=0.1` |

`ModelConfig` is `ExpertModelConfig` where `highnoon.ModelConfig` is meant too, as in `highnoon.compat`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self, get_type_hints

from highnoon.compat.data_config import DataConfig
from highnoon.compat.expert_config import ExpertConfig
from highnoon.compat.expert_runs import TrainDiffuserConfig, TrainExpertConfig, TrainMLAConfig
from highnoon.compat.expert_shapes import (
    DiffuserConfig,
    ExpertModelConfig,
    StateSpaceConfig,
    TransformerConfig,
)
from highnoon.compat.mla_config import MLAConfig
from highnoon.config import ConfigError, read_yaml, resolve_keys, shown

ModelConfig = ExpertModelConfig

__all__ = [
    "DataConfig",
    "DiffuserConfig",
    "ExpertConfigs",
    "ExpertModelConfig",
    "MLAConfig",
    "ModelConfig",
    "SECTIONS_OF",
    "StateSpaceConfig",
    "TrainDiffuserConfig",
    "TrainExpertConfig",
    "TrainMLAConfig",
    "TransformerConfig",
]

SECTIONS_OF: Mapping[str, tuple[str, ...]] = {
    "transformer": ("model", "transformer", "train_expert", "data"),
    "state_space": ("model", "state_space", "train_expert", "data"),
    "diffusion": ("model", "diffuser", "train_diffuser", "data"),
    "diffuser": ("model", "diffuser", "train_diffuser", "data"),
    "router": ("model", "mla", "train_mla", "data"),
}
"""What the training of each expert, and of the router, reads."""


@dataclasses.dataclass(frozen=True)
class ExpertConfigs:
    """All nine configurations, each under the name of its section in a file.

    Example:

    ```python
    from highnoon.compat.expert_configs import SECTIONS_OF, ExpertConfigs

    configs = ExpertConfigs.from_dict({"model": {"d_model": 64, "n_heads": 1}, "train_mla": {"lr": 1e-3}})
    configs = configs.updated(SECTIONS_OF["transformer"], {"n_layers": 2, "max_epochs": 1})
    assert (configs.transformer.n_layers, configs.train_expert.max_epochs) == (2, 1)
    assert configs.train_mla.max_epochs == 30
    ```
    """

    model: ExpertModelConfig = ExpertModelConfig()
    transformer: TransformerConfig = TransformerConfig()
    diffuser: DiffuserConfig = DiffuserConfig()
    state_space: StateSpaceConfig = StateSpaceConfig()
    mla: MLAConfig = MLAConfig()
    train_expert: TrainExpertConfig = TrainExpertConfig()
    train_diffuser: TrainDiffuserConfig = TrainDiffuserConfig()
    train_mla: TrainMLAConfig = TrainMLAConfig()
    data: DataConfig = DataConfig()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the configurations of a mapping of sections; what is left out keeps its defaults.

        Args:
            values: A mapping of fields for each section.

        Raises:
            ConfigError: an unknown section or key, or a value out of its range.
        """
        kinds = section_classes()
        sections: dict[str, Any] = {}
        for name, fields in resolve_keys(values, set(kinds), "the configuration of experts").items():
            if not isinstance(fields, Mapping):
                raise ConfigError(f"`{name}` must be a mapping of fields; received {shown(fields)}")
            sections[name] = kinds[name].from_dict(fields)
        return cls(**sections)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Returns the configurations of a YAML or JSON file of sections.

        Args:
            path: The file.

        Raises:
            ConfigError: there is no such file, or as `from_dict`.
        """
        values = read_yaml(os.fspath(path))
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{os.fspath(path)}: {error}") from None

    def updated(self, sections: Sequence[str], fields: Mapping[str, Any]) -> Self:
        """Returns a copy with fields replaced in each of some sections that has them.

        Args:
            sections: Names of sections, such as `SECTIONS_OF["transformer"]`.
            fields: Fields of any of the sections.

        Raises:
            ConfigError: a field that no section has, with the nearest, or a value out of its range.
        """
        kinds = section_classes()
        accepted = {name: kinds[name].accepted_names() for name in sections}
        given = resolve_keys(fields, set().union(*accepted.values()), ", ".join(sections))
        changed: dict[str, Any] = {}
        for name, names in accepted.items():
            own = {key: value for key, value in given.items() if key in names}
            changed[name] = getattr(self, name).replaced(own)
        return dataclasses.replace(self, **changed)

    def to_dict(self) -> dict[str, Any]:
        """Returns every field of every section."""
        return dataclasses.asdict(self)


def section_classes() -> dict[str, type[ExpertConfig]]:
    """Returns the class of each section, by name."""
    return dict(get_type_hints(ExpertConfigs))
