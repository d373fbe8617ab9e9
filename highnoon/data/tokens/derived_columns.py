"""Values that a frozen model computed for the tokens of a store, on disk and memory-mapped."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError
from highnoon.data.tokens.checked_array import CheckedArray, DamagedStoreError
from highnoon.files.block_hashes import are_block_hashes
from highnoon.files.expand_home import expand_home
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.sealed_json import DIGEST, require_sealed

DERIVED_VERSION = 1
DERIVED_MANIFEST = "manifest.json"
DTYPES = ("<f2", "<f4", "<i4", "<u2", "<u4")


@dataclasses.dataclass(frozen=True)
class DerivedColumn:
    """A derived column, stored in its own file.

    Args:
        dtype: The type on disk: `"<f2"`, `"<f4"`, `"<i4"`, `"<u2"` or `"<u4"`.
        shape: The shape of one value: `()` is one number, `(8,)` is eight.

    Raises:
        DataError: another type, or a shape that is not of counts.
    """

    dtype: str
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise DataError(
                f"a derived column's `dtype` must be one of {', '.join(DTYPES)}; received {self.dtype!r}"
            )
        if not all(type(size) is int and size > 0 for size in self.shape):
            raise DataError(f"a derived column's `shape` must be of counts above 0; received {self.shape}")

    @property
    def size(self) -> int:
        """The number of elements in one value."""
        return math.prod(self.shape)

    @property
    def batch_dtype(self) -> str:
        """The type in a batch: `float32` or `int32`."""
        return "float32" if self.dtype.startswith("<f") else "int32"


class DerivedColumns:
    """Derived columns of the tokens, or of the documents, of one store; created by `derive_columns`.

    `columns` has the type and shape of each by name, and `store` is the fingerprint of the token store. A
    block of 1 MiB is compared with its hash when it is first read.

    Args:
        folder: A folder that `derive_columns` wrote.

    Raises:
        DamagedStoreError: the folder is not complete, or a file has changed; for values, when they are read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = folder = expand_home(folder)
        self.manifest = _read_manifest(folder)
        self.store: str = self.manifest["store"]
        self.per: str = self.manifest["per"]
        self.key: str = self.manifest["key"]
        self.columns: Mapping[str, DerivedColumn] = {
            name: DerivedColumn(column["dtype"], tuple(column["shape"]))
            for name, column in self.manifest["columns"].items()
        }
        self._num_values: int = self.manifest["values"]
        for name, column in self.columns.items():
            path = folder / column_file(name)
            expected = self._num_values * column.size * np.dtype(column.dtype).itemsize
            actual = path.stat().st_size if path.is_file() else 0
            if not actual == expected == self.manifest["sizes"][name]:
                raise DamagedStoreError(
                    f"{path} should have {expected} bytes and has {actual}; {_remedy(folder)}"
                )

    def __len__(self) -> int:
        return self._num_values

    def read(self, name: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Returns the values at some positions among all tokens, or documents, of the store.

        Returns:
            An array of shape (positions, *shape), float32 or int32.
        """
        column = self.columns[name]
        numbers = positions[:, None] * column.size + np.arange(column.size)
        values = self._arrays[name][numbers.reshape(-1)]
        result: npt.NDArray[Any] = values.reshape(len(positions), *column.shape).astype(column.batch_dtype)
        return result

    @functools.cached_property
    def _arrays(self) -> dict[str, CheckedArray]:
        return {name: self._map(name, column) for name, column in self.columns.items()}

    def _map(self, name: str, column: DerivedColumn) -> CheckedArray:
        dtype = np.dtype(column.dtype)
        return CheckedArray(
            self.folder / column_file(name),
            dtype,
            self._num_values * column.size,
            self.manifest["sizes"][name],
            self.manifest["hashes"][name],
            # Any bits are a valid value.
            1 << (8 * dtype.itemsize),
            _remedy(self.folder),
        )

    def __repr__(self) -> str:
        return f"DerivedColumns({str(self.folder)!r}, {', '.join(self.columns)})"


def column_file(name: str) -> str:
    """Returns the name of a column's file."""
    return f"{name}.bin"


def _read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    file = folder / DERIVED_MANIFEST
    try:
        values: dict[str, Any] = read_json(file, max_bytes=1 << 30)
        require_sealed(values, str(file))
    except (OSError, ForeignDataError) as error:
        problem: str | None = str(error)
    else:
        problem = _problem(values)
    if problem:
        raise DamagedStoreError(f"{folder} has no complete derived columns ({problem}); {_remedy(folder)}")
    return values


def _problem(values: dict[str, Any]) -> str | None:
    types = {
        "store": str,
        "per": str,
        "key": str,
        "values": int,
        "columns": dict,
        "sizes": dict,
        "hashes": dict,
    }
    for name, kind in types.items():
        if type(values.get(name)) is not kind:
            return f"`{name}` is missing or has another type"
    if DIGEST not in values or values["per"] not in ("token", "document"):
        return "it has no hash of its own, or `per` is unknown"
    for name, column in values["columns"].items():
        size = values["sizes"].get(name)
        if not name.isidentifier() or not isinstance(column, dict) or type(size) is not int:
            return f"column {name!r} is not described"
        if column.get("dtype") not in DTYPES or not isinstance(column.get("shape"), list):
            return f"column {name!r} has no known type and shape"
        if not are_block_hashes(values["hashes"].get(name), size):
            return f"column {name!r} has no hashes"
    return None


def _remedy(folder: pathlib.Path) -> str:
    return f"remove {folder} and start the run again, which computes them again"
