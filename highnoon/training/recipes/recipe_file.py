"""Where the recipe of a run is, and how it is written."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml

from highnoon.config import ConfigError, require_path, shown
from highnoon.files.folder_content import folder_content
from highnoon.files.name_path import name_path

RECIPE_FILE = "recipe.yaml"
_LEVELS = 2
_DATA = (".txt", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".md", ".gz", ".zst")


def find_recipe(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the file of a recipe: a file itself, or `recipe.yaml` in the folder of a run or above.

    Args:
        path: A file, or the folder of a run, of its checkpoints, of one of these, or of its model.

    Raises:
        ConfigError: there is none.
    """
    path = pathlib.Path(require_path("recipe", path))
    if not path.is_dir():
        if path.suffix.lower() in _DATA and path.is_file():
            raise ConfigError(
                f"{path} is no recipe, which is a YAML file; to train on it: highnoon train --data {path}"
            )
        if not path.exists():
            content = folder_content(path)
            raise ConfigError(
                f"no configuration file at {path}: {content}"
                + ("" if content.endswith("?") else "; to train on text: highnoon train --data PATH")
            )
        return path
    for folder in [path, *path.resolve().parents[:_LEVELS]]:
        if (folder / RECIPE_FILE).is_file():
            return folder / RECIPE_FILE
    raise ConfigError(
        f"there is no {RECIPE_FILE} in {path}; give a recipe or the folder of a run; to train on what is "
        f"there: highnoon train --data {path}"
    )


def recipe_text(values: Mapping[str, Any]) -> str:
    """Returns a recipe as YAML.

    Raises:
        ConfigError: a value that a file cannot hold.
    """
    return str(yaml.safe_dump(_plain(values, "the recipe"), sort_keys=False, allow_unicode=True))


def write_recipe(values: Mapping[str, Any], path: pathlib.Path) -> None:
    """Writes a recipe as YAML, in one replacement.

    Raises:
        ConfigError: a value that a file cannot hold.
    """
    text = recipe_text(values)
    with name_path(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)


def _plain(value: Any, owner: str) -> Any:
    """Returns a value as YAML's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part, f"`{key}`") for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, owner) for part in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    raise ConfigError(f"{owner} has a value that a file cannot hold; received {shown(value)}")
