"""Converts Keras variables to named arrays and back, and stores such arrays as safetensors files."""

from __future__ import annotations

import collections
import errno
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

_COUNTER = re.compile(r"^(.+?)_(\d+)$")
_LISTED = 8


def variable_names(variables: Sequence[Any]) -> list[str]:
    """Returns one unique name for each variable, the same in every process and for every instance.

    A name is the variable's Keras path without a root that all of them share (a model's or an
    optimizer's own name). Components that Keras numbered by a global counter (`dense_7`) are
    numbered again by their position among their siblings; a family that was numbered on purpose
    from 0 (`reasoning_block_0`) does not change. Equal names get `#1`, `#2`, ... in list order.
    """
    paths = [tuple(variable.path.split("/")) for variable in variables]
    while len(paths) > 1 and all(len(p) > 1 for p in paths) and len({p[0] for p in paths}) == 1:
        paths = [p[1:] for p in paths]
    families = _number_families(paths)
    names = ["/".join(families[p[:i]][part] for i, part in enumerate(p)) for p in paths]
    return _number_repeats(names)


def _number_families(paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], dict[str, str]]:
    """For each parent, the new name of each of its children."""
    children: dict[tuple[str, ...], dict[str, str]] = collections.defaultdict(dict)
    for path in paths:
        for depth, part in enumerate(path):
            children[path[:depth]].setdefault(part, part)
    for parts in children.values():
        families: dict[str, list[str]] = collections.defaultdict(list)
        for part in parts:
            match = _COUNTER.match(part)
            families[match.group(1) if match else part].append(part)
        for base, members in families.items():
            if f"{base}_0" not in members:
                for index, part in enumerate(members):
                    parts[part] = f"{base}_{index}" if index else base
    return children


def _number_repeats(names: Sequence[str]) -> list[str]:
    seen: collections.Counter[str] = collections.Counter()
    unique = []
    for name in names:
        unique.append(f"{name}#{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return unique


def variable_arrays(variables: Sequence[Any]) -> dict[str, np.ndarray]:
    """Returns the values of Keras variables under the names of `variable_names`.

    Example:

    ```python
    import keras
    from highnoon.models.arrays import assign_arrays, variable_arrays

    one, two = (keras.Sequential([keras.layers.Dense(3)]) for _ in range(2))
    one.build((None, 2)), two.build((None, 2))
    assign_arrays(two.variables, variable_arrays(one.variables), owner="two")
    ```
    """
    return {
        name: np.asarray(keras.ops.convert_to_numpy(variable.value))
        for name, variable in zip(variable_names(variables), variables, strict=True)
    }


def assign_arrays(variables: Sequence[Any], arrays: Mapping[str, np.ndarray], owner: str) -> None:
    """Assigns each variable its array; nothing is assigned unless all of them fit.

    Args:
        variables: Keras variables.
        arrays: Values by name, as `variable_arrays` returns them.
        owner: Whose variables they are, for the message.

    Raises:
        ValueError: names are missing or unexpected, or a shape differs; the message lists them.
    """
    named = dict(zip(variable_names(variables), variables, strict=True))
    wrong = [
        f"`{name}` has shape {tuple(arrays[name].shape)} and should have {tuple(variable.shape)}"
        for name, variable in named.items()
        if name in arrays and tuple(arrays[name].shape) != tuple(variable.shape)
    ]
    problems = [
        _listing("missing", [name for name in named if name not in arrays]),
        _listing("unexpected", [name for name in arrays if name not in named]),
        _listing("of another shape", wrong),
    ]
    if any(problems):
        raise ValueError(
            f"the arrays do not fit {owner}: {'; '.join(filter(None, problems))}. "
            "Load them into the configuration that they were saved from."
        )
    for name, variable in named.items():
        variable.assign(arrays[name])


def _listing(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} {what} ({', '.join(names[:_LISTED])}{rest})"


def save_arrays(
    path: str | pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Writes arrays to one safetensors file and syncs it to disk.

    Args:
        path: The file.
        arrays: By name.
        metadata: Texts for the file's header; None for none.

    Raises:
        OSError: the file cannot be written (a full disk is `errno.ENOSPC`).
    """
    path = pathlib.Path(path)
    is_new = not path.exists()
    path.touch()  # save_file renames a private file to `path`: keep the permissions of an ordinary one
    mode = path.stat().st_mode
    try:
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path, metadata)
    except SafetensorError as error:
        if is_new:
            path.unlink()
        code = re.search(r"os error (\d+)", str(error))
        number = int(code.group(1)) if code else errno.EIO
        raise OSError(number, f"could not write: {error}", str(path)) from error
    path.chmod(mode)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def array_shapes(path: str | pathlib.Path) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays in a file of `save_arrays`, from its header alone.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as arrays:
            return {name: tuple(arrays.get_slice(name).get_shape()) for name in arrays.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error


def load_arrays(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a file that `save_arrays` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no arrays at {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
