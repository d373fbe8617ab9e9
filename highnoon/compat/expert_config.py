"""What the configuration classes of the expert mixture have in common."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from highnoon.config import ALIASES, ConfigError, read_yaml, resolve_keys
from highnoon.config.fields import check_fields

_Config = TypeVar("_Config", bound="type[ExpertConfig]")


@dataclasses.dataclass(frozen=True)
class ExpertConfig:
    """Base of the configuration classes: names of fields, ranges, mappings and YAML.

    A field has the name that the document gives it. Its name in `highnoon.config`, and each alias of that, is
    accepted too: `grad_accum_steps` and `gradient_accumulation_steps` are one field.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the configuration of a mapping; fields that are left out keep their defaults.

        Args:
            values: Fields by name or alias.

        Raises:
            ConfigError: an unknown key, with the nearest name; a field given twice; or a value out of its
                range.
        """
        return cls(**cls.resolve(values))

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Returns the configuration of a YAML or JSON file of fields.

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

    @classmethod
    def accepted_names(cls) -> dict[str, str]:
        """Returns the field that each name means, without the further aliases of `highnoon.config`."""
        names = {field.name: field.name for field in dataclasses.fields(cls)}
        return names | {ALIASES[name]: name for name in names if ALIASES.get(name, name) not in names}

    @classmethod
    def resolve(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a mapping under the names of the fields.

        Args:
            values: Fields by name or alias.

        Raises:
            ConfigError: an unknown key, or a field given twice.
        """
        names = cls.accepted_names()
        fields: dict[str, Any] = {}
        for key, value in resolve_keys(values, set(names), cls.__name__).items():
            if names[key] in fields:
                raise ConfigError(f"{cls.__name__} got `{names[key]}` under two names; give it once")
            fields[names[key]] = value
        return fields

    def replaced(self, values: Mapping[str, Any]) -> Self:
        """Returns a copy with other values of some fields.

        Args:
            values: Fields by name or alias.

        Raises:
            ConfigError: as `from_dict`.
        """
        return dataclasses.replace(self, **self.resolve(values))

    def to_dict(self) -> dict[str, Any]:
        """Returns every field."""
        return dataclasses.asdict(self)


def with_documented_names(cls: _Config) -> _Config:
    """Decorates a configuration class: keywords may be aliases, and an unknown one names the nearest."""
    plain_init: Callable[..., None] = cls.__init__

    @functools.wraps(plain_init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        plain_init(self, *args, **cls.resolve(kwargs))

    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls
