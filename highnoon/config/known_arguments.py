"""Answers an unknown keyword argument with the nearest name, and keeps the signature of the function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar, overload

from highnoon.config.config_error import ConfigError
from highnoon.config.keys import ALIASES
from highnoon.files.nearest_name import nearest_name

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_NO_HINTS: Mapping[str, str] = MappingProxyType({})


class UnknownArgumentError(ConfigError, TypeError):
    """A keyword argument that a function does not have."""


@overload
def known_arguments(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]: ...


@overload
def known_arguments(
    *, options: Iterable[str] = (), hints: Mapping[str, str] = _NO_HINTS
) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]: ...


def known_arguments(
    function: Any = None, *, options: Iterable[str] = (), hints: Mapping[str, str] = _NO_HINTS
) -> Any:
    """Decorates a function so that an unknown keyword raises an error that names the nearest one.

    Args:
        function: The function.
        options: What it takes as `**options` besides the names of its signature.
        hints: What to do about names of other libraries.

    Example:

    ```python
    from highnoon.config.known_arguments import known_arguments

    @known_arguments
    def train(epochs=1): ...

    try:
        train(num_epochs=3)
    except TypeError as error:
        assert str(error) == "train() has no argument `num_epochs`; did you mean `epochs`?"
    ```
    """

    if function is None:
        return functools.partial(known_arguments, options=frozenset(options), hints=hints)
    is_method = next(iter(inspect.signature(function).parameters), None) == "self"

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            owner = type(args[0]) if is_method and args else None
            require_known_arguments(function, kwargs, options, owner, hints)
        return function(*args, **kwargs)

    call.known_options = options  # type: ignore[attr-defined]
    return call


def require_known_arguments(
    function: Callable[..., Any],
    given: Iterable[str],
    options: Iterable[str] = (),
    owner: type | None = None,
    hints: Mapping[str, str] = _NO_HINTS,
) -> None:
    """Checks the names of keyword arguments.

    Args:
        function: What was called; a constructor is called by the name of its class.
        given: The names.
        options: Names that the function takes besides those of its signature, also under their aliases.
        owner: The class of a method, whose other methods may have the argument.
        hints: What to do about names of other libraries.

    Raises:
        UnknownArgumentError: a name that the function does not have; a `ConfigError` and a `TypeError`.
    """
    own, options = _names(function), list(options)
    aliases = [alias for alias, name in ALIASES.items() if name in options]
    known = [*own, *options]
    for name in given:
        if name not in known and name not in aliases:
            is_meant = ALIASES.get(name) in known or any(one.startswith(f"{name}_") for one in known)
            if not is_meant and (others := _others_with(name, owner)):
                raise UnknownArgumentError(
                    f"{_name_of(function)}() has no argument `{name}`; give it to {' or '.join(others)}"
                )
            raise unknown_argument(_name_of(function), name, known, aliases, hints)


def unknown_argument(
    caller: str,
    name: str,
    known: Iterable[str],
    aliases: Iterable[str] = (),
    hints: Mapping[str, str] = _NO_HINTS,
) -> UnknownArgumentError:
    """Returns the error of a keyword argument that does not exist.

    Args:
        caller: The function, as its users write it.
        name: The name that was given.
        known: The names that exist.
        aliases: Other names of some of them.
        hints: What to do about names of other libraries.
    """
    known = list(known)
    near = ALIASES.get(name)
    if near not in known:
        if name in hints:
            return UnknownArgumentError(f"{caller}() has no argument `{name}`; {hints[name]}")
        near = nearest_name(name, [*known, *aliases])
    hint = f"did you mean `{near}`?" if near is not None else f"it has: {', '.join(known) or 'none'}"
    return UnknownArgumentError(f"{caller}() has no argument `{name}`; {hint}")


def _others_with(name: str, owner: type | None) -> list[str]:
    """Returns the decorated methods of a class that have an argument."""
    found = []
    for member, method in inspect.getmembers(owner, inspect.isfunction) if owner is not None else ():
        is_public = member == "__init__" or not member.startswith("_")
        if is_public and hasattr(method, "known_options"):
            accepted = {*_names(method), *method.known_options}
            if name in accepted or ALIASES.get(name) in accepted:
                found.append(f"{_name_of(method)}()")
    return found


@functools.cache
def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    fixed = (one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
    return tuple(one.name for one in fixed if one.name not in ("self", "cls"))


def _name_of(function: Callable[..., Any]) -> str:
    if function.__name__ == "__init__":
        return function.__qualname__.split(".")[-2]
    return function.__name__
