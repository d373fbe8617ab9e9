"""Reads a configuration file."""

from __future__ import annotations

import pathlib
from typing import Any

from highnoon.config.config_error import ConfigError
from highnoon.files import foreign


def read_yaml(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns the mapping in a YAML or JSON file.

    Raises:
        ConfigError: the file is missing, is not YAML, gives a key twice, is nested too deep or too large,
            or is not a mapping.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ConfigError(f"no configuration file at {path}")
    try:
        values: dict[str, Any] = foreign.read_yaml(path, expected=object)
    except foreign.ForeignDataError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of keys to values")
    return values
