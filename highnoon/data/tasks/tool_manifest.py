"""Tools that a model may call: registration, schemas, checks of calls, and a dry run on a simulated state."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from highnoon.config import require_choice, require_text, shown
from highnoon.data.document import DataError
from highnoon.data.tasks.function_text import bounded_schema, json_schema
from highnoon.data.tasks.tool_effects import (
    ToolEffectError,
    apply_effects,
    argument_names,
    require_effect,
)
from highnoon.data.tasks.tool_schema import function_schema
from highnoon.files.nearest_name import suggestion, unknown_name

_MOST_CHARACTERS = 200

SAFETY_CLASSES = ("trusted", "sandboxed", "external")

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class ToolExecutionError(ValueError):
    """A call that names no tool, has arguments that do not fit its schema, or does not fit the state."""


@dataclasses.dataclass(frozen=True)
class ToolRegistration:
    """A tool.

    Args:
        name: Its name in calls.
        handler: The function that executes it; None for a tool that is only a schema. A dry run never calls
            it.
        description: What it does, for prompts; the first line of the handler's docstring if empty.
        parameters: JSON schema of its arguments; None derives it from the handler's type hints.
        effects: What a call does to the simulated state, see `tool_effects.apply_effects`.
        safety_class: `"trusted"`, `"sandboxed"` or `"external"`: what executing it needs.
        audit_tags: Words for the record of calls.

    Raises:
        DataError: If there is neither a handler nor a schema, or a value is wrong.
    """

    name: str
    handler: Callable[..., Any] | None = None
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    effects: Sequence[Mapping[str, Any]] = ()
    safety_class: str = "sandboxed"
    audit_tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        require_text("name", self.name, DataError)
        require_choice("safety_class", self.safety_class, SAFETY_CLASSES, DataError)
        if self.parameters is None and self.handler is None:
            raise DataError(f"the tool `{self.name}` needs a `handler` or the schema `parameters`; give one")
        derived = function_schema(self.handler) if self.handler is not None and not self.parameters else {}
        parameters = self.parameters if self.parameters is not None else derived["parameters"]
        if not isinstance(parameters, Mapping):
            raise DataError(
                f"`parameters` of the tool `{self.name}` must be a JSON schema; received {shown(parameters)}"
            )
        object.__setattr__(self, "parameters", json_schema(parameters))
        for effect in self.effects:
            try:
                require_effect(effect)
                _require_arguments(effect, self.parameters or {})
            except ToolEffectError as error:
                raise DataError(f"the tool `{self.name}`: {error}") from None
        object.__setattr__(self, "description", self.description or derived.get("description", ""))

    def schema(self) -> dict[str, Any]:
        """Returns `name`, `description`, `parameters`, and `effects` if there are any."""
        effects = {"effects": [dict(effect) for effect in self.effects]} if self.effects else {}
        parameters = copy.deepcopy(self.parameters)
        return {"name": self.name, "description": self.description, "parameters": parameters, **effects}


class ToolManifest:
    """Tools that a model may call, with a simulated state.

    A dry run checks a call against the schema of its tool, applies the tool's effects to the simulated state
    and records the call. It executes nothing.

    Args:
        state: The simulated state before the first call, JSON values.

    Example:

    ```python
    from highnoon.data.tasks.tool_manifest import ToolManifest
    manifest = ToolManifest(state={"stock": {}})

    @manifest.register(effects=[{"op": "add", "path": ["stock", "$item"], "value": "$count"}])
    def receive(item: str, count: int = 1) -> None:
        "Puts items into the store."

    manifest.dry_run("receive", {"item": "cups", "count": 3})
    assert manifest.state == {"stock": {"cups": 3}} and manifest.names == ["receive"]
    ```
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._initial = copy.deepcopy(dict(state or {}))
        self._state: Any = None
        self._calls: list[dict[str, Any]] = []
        self._tools: dict[str, ToolRegistration] = {}
        self.reset()

    @classmethod
    def from_schemas(
        cls, tools: Sequence[Mapping[str, Any]], state: Mapping[str, Any] | None = None
    ) -> ToolManifest:
        """Returns the manifest of tools that `list_tools` described, or of `TaskExample.tools`.

        Args:
            tools: `name`, `description`, `parameters` and optionally `effects` of each.
            state: The simulated state.

        Raises:
            DataError: If a tool is not in this form.
        """
        manifest = cls(state)
        for tool in tools:
            manifest.register(
                ToolRegistration(
                    tool["name"],
                    None,
                    tool.get("description") or "",
                    tool.get("parameters") or {"type": "object"},
                    tool.get("effects") or (),
                )
            )
        return manifest

    def register(self, tool: ToolRegistration | str | None = None, **options: Any) -> Any:
        """Registers a tool, or is a decorator of the function that executes it.

        Args:
            tool: A `ToolRegistration`; or the tool's name for a decorator, None for the function's name.
            **options: Other arguments of `ToolRegistration`, for a decorator.

        Returns:
            The registration, or a decorator that returns the function unchanged.

        Raises:
            DataError: If another tool has that name, or the registration is wrong.
        """
        if isinstance(tool, ToolRegistration):
            if tool.name in self._tools:
                raise DataError(f"a tool `{tool.name}` is registered already; choose another name")
            self._tools[tool.name] = tool
            return tool
        if callable(tool):
            raise DataError("write `@manifest.register()` with parentheses, or give the tool's name")

        def decorate(handler: _Handler) -> _Handler:
            self.register(ToolRegistration(tool or handler.__name__, handler, **options))
            return handler

        return decorate

    @property
    def names(self) -> list[str]:
        """Names of the tools, in the order of their registration."""
        return list(self._tools)

    @property
    def state(self) -> dict[str, Any]:
        """A copy of the simulated state after the calls so far."""
        return copy.deepcopy(self._state)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls so far, with `name`, `arguments` and `invocation_id`."""
        return copy.deepcopy(self._calls)

    def get(self, name: str) -> ToolRegistration:
        """Returns a tool.

        Raises:
            ToolExecutionError: If no tool has that name.
        """
        if name not in self._tools:
            raise ToolExecutionError(unknown_name("tool", name, self._tools))
        return self._tools[name]

    def list_tools(self) -> list[dict[str, Any]]:
        """Returns `name`, `description`, `parameters`, and `effects` if any, of each tool."""
        return [tool.schema() for tool in self._tools.values()]

    def check(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Checks a call against the schema of its tool; references and patterns in a schema are not checked.

        Raises:
            ToolExecutionError: If no tool has that name, or the arguments do not fit.
            DataError: If the schema is no JSON schema.
            ImportError: If the extra `tasks` is not installed.
        """
        tool = self.get(name)
        if not isinstance(arguments, Mapping):
            raise ToolExecutionError(
                f"the arguments of `{name}` must be an object; received {shown(arguments)}"
            )
        assert tool.parameters is not None
        schema = bounded_schema(tool.parameters)
        validator, wrong_schema = _validator()
        try:
            validator.check_schema(schema)
        except wrong_schema as error:
            reason = str(error.message)[:_MOST_CHARACTERS]
            raise DataError(f"`parameters` of the tool `{name}` is no JSON schema: {reason}") from None
        found = next(validator(schema).iter_errors(dict(arguments)), None)
        if found is not None:
            where = "".join(f"[{part!r}]" for part in found.absolute_path)
            raise ToolExecutionError(f"`{name}`: arguments{where}: {str(found.message)[:_MOST_CHARACTERS]}")

    def dry_run(
        self, name: str, arguments: Mapping[str, Any], invocation_id: str | None = None
    ) -> dict[str, Any]:
        """Checks and records a call and applies its effects to the simulated state; executes nothing.

        Args:
            name: Name of the tool.
            arguments: Its arguments, JSON values.
            invocation_id: Name of the call in the record; None numbers it.

        Returns:
            `status`, `"dry_run"`; `name`; `invocation_id`; and `state` after the call.

        Raises:
            ToolExecutionError: If the call is wrong; then it is not recorded, and the state is as before.
        """
        self.check(name, arguments)
        try:
            self._state = apply_effects(self._state, self.get(name).effects, arguments)
        except ToolEffectError as error:
            raise ToolExecutionError(f"`{name}`: {error}") from None
        own = str(len(self._calls)) if invocation_id is None else invocation_id
        self._calls.append({"name": name, "arguments": copy.deepcopy(dict(arguments)), "invocation_id": own})
        return {"status": "dry_run", "name": name, "invocation_id": own, "state": self.state}

    def reset(self) -> None:
        """Puts the state back to that before the first call, and removes the record of calls."""
        self._state = copy.deepcopy(self._initial)
        self._calls = []


def _require_arguments(effect: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Checks that an effect names arguments that the tool has, where its schema lists all of them."""
    properties = parameters.get("properties")
    if parameters.get("additionalProperties", False) or not isinstance(properties, Mapping):
        return
    for name in argument_names(effect):
        if name not in properties:
            raise ToolEffectError(
                f"an effect names the argument `${name}`, which the tool does not have; "
                f"{suggestion(name, list(properties), 'arguments') if properties else 'it has none'}"
            )


@functools.lru_cache(maxsize=1)
def _validator() -> tuple[Any, Any]:
    try:
        import jsonschema
    except ImportError:
        raise ImportError(
            "checking calls against schemas needs the library `jsonschema`: pip install 'highnoon[tasks]'"
        ) from None
    return jsonschema.Draft202012Validator, jsonschema.SchemaError
