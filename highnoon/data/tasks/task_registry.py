"""The tasks by name."""

from __future__ import annotations

import importlib
import re
from typing import Any, TypeVar

from highnoon.data.document import DataError
from highnoon.data.tasks.task_definition import TaskDefinition
from highnoon.files.nearest_name import unknown_name

_Definition = TypeVar("_Definition", bound=type[TaskDefinition])

# Loaded when a task is opened: the generators are not needed to import the package.
_OURS = {
    "text_completion": "highnoon.data.tasks.text_completion:TextCompletion",
    "function_call": "highnoon.data.tasks.function_call:FunctionCall",
    "bash_command": "highnoon.data.tasks.bash_command:BashCommand",
    "tool_use": "highnoon.data.tasks.tool_use:ToolUse",
    "chain_of_thought": "highnoon.data.tasks.chain_of_thought:ChainOfThought",
}
_REGISTERED: dict[str, type[TaskDefinition]] = {}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def register_task(definition: _Definition) -> _Definition:
    """Registers a task under its `name`; a decorator of a subclass of `TaskDefinition`.

    Raises:
        DataError: If the name is no word of lower-case letters, digits and underscores, or another task has
            it.
    """
    name = getattr(definition, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DataError(
            f"`name` of {definition.__qualname__} must be lower-case letters, digits and underscores; "
            f"received {name!r}"
        )
    path = f"{definition.__module__}:{definition.__qualname__}"
    other = _REGISTERED.get(name)
    taken = _OURS.get(name, path) if other is None else f"{other.__module__}:{other.__qualname__}"
    if taken != path:
        raise DataError(f"a task `{name}` is registered already: {taken}; choose another name")
    _REGISTERED[name] = definition
    return definition


def task_names() -> list[str]:
    """Returns the names of all tasks."""
    return list(dict.fromkeys([*_OURS, *_REGISTERED]))


def task_definition(name: Any) -> TaskDefinition:
    """Returns the definition of a task.

    Raises:
        DataError: If no task has that name.

    Example:

    ```python
    from highnoon.data.tasks import task_definition
    assert task_definition("bash_command").name == "bash_command"
    ```
    """
    if name in _OURS and name not in _REGISTERED:
        module, _, cls = _OURS[name].partition(":")
        return getattr(importlib.import_module(module), cls)()
    if name not in _REGISTERED:
        raise DataError(unknown_name("task", name, task_names()))
    return _REGISTERED[name]()
