"""Names that configurations use for classes: ours, registered ones, and those of installed packages."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from highnoon.config import ConfigError
from highnoon.files.nearest_name import unknown_name

_Class = TypeVar("_Class", bound=type)


class Registry(Generic[_Class]):
    """Classes by name. Nothing is imported before a name is asked for.

    A name stands for a class of HighNoon, for one that `register` was given, or for an entry point of an
    installed package. A name is never read as a dotted path, so a file that holds one cannot choose what is
    imported.

    Args:
        kind: What a name stands for, for messages.
        group: The entry point group of other packages, such as `"highnoon.parts"`.
        ours: HighNoon's own: `"module:Class"` by name.

    Example:

    ```python
    from highnoon.models.registry import Registry

    shapes = Registry("shape", "example.shapes")
    shapes.register("square", int)
    assert shapes["square"] is int and "square" in shapes
    ```
    """

    def __init__(self, kind: str, group: str, ours: Mapping[str, str] | None = None) -> None:
        self.kind, self.group = kind, group
        self._ours = dict(ours or {})
        self._classes: dict[str, _Class] = {}

    def register(self, name: str, cls: _Class) -> None:
        """Gives a class a name; the same class, defined again, replaces the earlier one.

        Raises:
            ConfigError: `name` is no identifier, or another class has it.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(
                f"the name of a {self.kind} must be letters, digits and underscores; received {name!r}"
            )
        taken = self._ours.get(name)
        if name in self._classes:
            taken = _path(self._classes[name])
        if taken is not None and taken != _path(cls):
            raise ConfigError(f"a {self.kind} `{name}` exists already: {taken}; choose another name")
        self._classes[name] = cls

    def __getitem__(self, name: str) -> _Class:
        """Returns the class of a name.

        Raises:
            ConfigError: no class has it.
        """
        if name not in self._classes:
            self._classes[name] = self._load(name)
        return self._classes[name]

    def __contains__(self, name: Any) -> bool:
        return isinstance(name, str) and (
            name in self._classes or name in self._ours or name in self._entry_points()
        )

    def name_of(self, cls: type) -> str | None:
        """Returns the name of a class, or None where it has none."""
        for name, known in self._classes.items():
            if known is cls:
                return name
        paths = self._ours | {name: point.value for name, point in self._entry_points().items()}
        return next((name for name, path in paths.items() if path == _path(cls)), None)

    def loaded(self) -> list[str]:
        """Returns the names whose classes are imported."""
        return list(self._classes)

    def names(self) -> list[str]:
        """Returns all names: ours first, then those of others."""
        return list(dict.fromkeys([*self._ours, *self._classes, *self._entry_points()]))

    def _load(self, name: str) -> _Class:
        if name in self._ours:
            module, _, attribute = self._ours[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        point = self._entry_points().get(name)
        if point is None:
            raise ConfigError(
                f"{unknown_name(self.kind, name, self.names())}; a name of another package is known once "
                f"that package is installed with an entry point in `{self.group}`, or once the module that "
                "registers it is imported"
            )
        cls = point.load()
        return self._classes.get(name, cls)

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return _entry_points(self.group, tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _entry_points(group: str, path: tuple[str, ...]) -> dict[str, importlib.metadata.EntryPoint]:
    """The entry points of a group; reading them takes milliseconds, so once for each search path."""
    return {point.name: point for point in importlib.metadata.entry_points(group=group)}


def _path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
