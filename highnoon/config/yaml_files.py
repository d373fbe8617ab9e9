"""Reads a configuration file."""

from __future__ import annotations

import pathlib
from typing import Any

from highnoon.config.config_error import ConfigError
from highnoon.files import foreign
from highnoon.files.expand_home import expand_home
from highnoon.files.yaml_loader import LocatingLoader


def read_yaml(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns the mapping in a YAML or JSON file; every mapping in it knows the lines of its keys.

    Raises:
        ConfigError: the file is missing, is not YAML, gives a key twice, is nested too deep or too large,
            or is not a mapping.
    """
    path = expand_home(path)
    if not path.is_file():
        raise ConfigError(f"no configuration file at {path}")
    try:
        values: dict[str, Any] = foreign.read_yaml(path, expected=object, loader=LocatingLoader)
    except foreign.ForeignDataError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of keys to values")
    return values
