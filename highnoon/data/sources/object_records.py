"""Reads the records of objects in memory: data sets of other libraries, tables, lists and functions."""

from __future__ import annotations

import functools
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from highnoon.config import shown
from highnoon.data.document import DataError
from highnoon.data.records.needed_fields import needed_fields
from highnoon.data.records.read_options import ReadOptions

# Few enough that long records fit into memory, many enough that the library's own overhead is small.
_BATCH_RECORDS = 64
_HUGGING_FACE = ("Dataset", "IterableDataset", "DatasetDict", "IterableDatasetDict")
_FUNCTIONS = (functools.partial,)

_TAKES = (
    "a Hugging Face dataset, a list of texts or of records, a pandas DataFrame, a tf.data.Dataset of "
    "strings, or a function that returns an iterator of texts or records"
)


class ObjectRecords(NamedTuple):
    """How an object is read.

    Args:
        name: What the object is, for reports.
        read: Returns the records from the first to the last, each time it is called.
        columns: Names of the fields, None if they are not known before reading.
    """

    name: str
    read: Callable[[], Iterator[Mapping[str, Any]]]
    columns: Sequence[str] | None = None


def is_data_object(value: Any) -> bool:
    """Returns whether a value is data itself, or a function that returns it, and not a name.

    Lists are not included: a list may hold names of datasets.
    """
    return (
        _is_of(value, "datasets", _HUGGING_FACE)
        or _is_of(value, "pandas", ("DataFrame", "Series"))
        or _is_of(value, "tensorflow", ("DatasetV2",))
        or _is_of(value, "pyarrow", ("Table",))
        or isinstance(value, np.ndarray)
        or inspect.isgenerator(value)
        or inspect.isroutine(value)
        or isinstance(value, _FUNCTIONS)
    )


def object_records(value: Any, options: ReadOptions) -> ObjectRecords:
    """Returns how to read the records of an object.

    Args:
        value: The object.
        options: How its records are read; columns that they do not need are not read.

    Raises:
        DataError: The object holds no text, or can be read once only.
    """
    if _is_of(value, "datasets", ("DatasetDict", "IterableDatasetDict")):
        value = _chosen_split(value)
    if _is_of(value, "datasets", _HUGGING_FACE):
        return _hugging_face(value, options)
    if _is_of(value, "pandas", ("DataFrame",)):
        return _data_frame(value, options)
    if _is_of(value, "pandas", ("Series",)):
        value = value.to_numpy()
    if _is_of(value, "tensorflow", ("DatasetV2",)):
        return _tensorflow(value)
    if _is_of(value, "pyarrow", ("Table",)):
        table = value.select(needed_fields(value.column_names, options))
        batches = functools.partial(table.to_batches, max_chunksize=_BATCH_RECORDS)
        return ObjectRecords(
            f"pyarrow.Table of {value.num_rows:,} rows",
            lambda: (record for batch in batches() for record in batch.to_pylist()),
            value.column_names,
        )
    if inspect.isgenerator(value) or isinstance(value, Iterator):
        raise DataError(
            f"a {type(value).__name__} can be read once, and a run reads its data again: pass the function "
            f"that makes it, as in datasets=read_texts instead of datasets=read_texts()"
        )
    if inspect.isroutine(value) or isinstance(value, _FUNCTIONS):
        return _function(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return _sequence(value)
    raise DataError(f"expected {_TAKES}; received {type(value).__name__}")


def _is_of(value: Any, library: str, names: Sequence[str]) -> bool:
    """Returns whether a value is of a class of a library, which need not be imported for it."""
    return any(
        kind.__name__ in names and kind.__module__.partition(".")[0] == library
        for kind in type(value).__mro__
    )


def _chosen_split(splits: Mapping[str, Any]) -> Any:
    """Returns the split of a dictionary of splits that is trained on."""
    names = list(splits)
    if len(names) == 1:
        return splits[names[0]]
    if "train" not in names:
        raise DataError(
            f"the dataset has the splits {', '.join(names) or 'none'} and no `train`; pass one of them, as "
            f'in dataset["{names[0] if names else "train"}"]'
        )
    others = ", ".join(f'dataset["{name}"]' for name in names if name != "train")
    warnings.warn(
        f"of the splits {', '.join(names)}, `train` is read, and some of it is held out; to use another, "
        f"pass {others}",
        stacklevel=2,
    )
    return splits["train"]


def _hugging_face(dataset: Any, options: ReadOptions) -> ObjectRecords:
    info = getattr(dataset, "info", None)
    label = getattr(info, "dataset_name", None) or getattr(info, "builder_name", None) or "datasets.Dataset"
    split = getattr(dataset, "split", None)
    name = f"{label}:{split}" if split is not None else str(label)
    # A format such as "torch" or "numpy" is for another reader.
    plain = dataset.with_format(None)
    columns = plain.column_names
    if columns is not None:
        plain = plain.select_columns(needed_fields(columns, options))
    if not hasattr(plain, "num_rows"):
        return ObjectRecords(name, lambda: iter(plain), columns)

    def read() -> Iterator[Mapping[str, Any]]:
        for batch in plain.iter(_BATCH_RECORDS):
            names = list(batch)
            for values in zip(*batch.values(), strict=True):
                yield dict(zip(names, values, strict=True))

    return ObjectRecords(name, read, columns)


def _data_frame(frame: Any, options: ReadOptions) -> ObjectRecords:
    columns = [str(column) for column in frame.columns]
    if len(set(columns)) < len(columns):
        raise DataError("the DataFrame has two columns of one name; rename one of them")
    needed = set(needed_fields(columns, options))
    positions = [index for index, column in enumerate(columns) if column in needed]

    def read() -> Iterator[Mapping[str, Any]]:
        for start in range(0, len(frame), _BATCH_RECORDS):
            part = frame.iloc[start : start + _BATCH_RECORDS, positions].astype(object)
            # Every kind of missing value of the library becomes null.
            part = part.where(part.notna(), None)
            for values in part.itertuples(index=False, name=None):
                yield dict(zip((columns[index] for index in positions), values, strict=True))

    return ObjectRecords(f"DataFrame of {len(frame):,} rows", read, columns)


def _tensorflow(dataset: Any) -> ObjectRecords:
    spec = dataset.element_spec
    fields = spec if isinstance(spec, dict) else {"text": spec}
    if isinstance(spec, (tuple, list)):
        raise DataError(
            "the elements of the tf.data.Dataset are tuples, and a run makes its labels from the text "
            "itself; pass the texts alone, as in dataset.map(lambda x, y: x), or use model.fit(dataset)"
        )
    for name, part in fields.items():
        shape = getattr(part, "shape", None)
        if shape is None or shape.rank not in (0, None):
            raise DataError(
                f"`{name}` of the tf.data.Dataset is a batch, of shape {shape}; pass single records, as in "
                f"dataset.unbatch()"
            )
    if not isinstance(spec, dict) and spec.dtype.name != "string":
        raise DataError(
            f"the tf.data.Dataset holds {spec.dtype.name} and no strings; {_ARRAYS_HELP}; received a dataset "
            f"of {spec}"
        )
    if dataset.cardinality().numpy() == -1:
        raise DataError("the tf.data.Dataset repeats without end; leave out its `repeat`: a run has `epochs`")

    def read() -> Iterator[Mapping[str, Any]]:
        for element in dataset.as_numpy_iterator():
            yield element if isinstance(element, dict) else {"text": element}

    return ObjectRecords("tf.data.Dataset", read, list(fields))


_ARRAYS_HELP = (
    "a run tokenizes text itself and makes rows, labels and weights of it: pass the texts, or train on "
    "arrays with model.fit(x, y)"
)


def _function(function: Any) -> ObjectRecords:
    name = getattr(function, "__name__", type(function).__name__)

    def read() -> Iterator[Mapping[str, Any]]:
        return map(functools.partial(_as_record, name), function())

    return ObjectRecords(f"{name}()", read)


def _sequence(values: Any) -> ObjectRecords:
    """Returns how to read a list or an array, whose values are texts or records."""
    if isinstance(values, np.ndarray):
        if values.ndim != 1 or values.dtype.kind not in "OUS":
            raise DataError(
                f"an array of {values.dtype} and shape {values.shape} holds no texts; {_ARRAYS_HELP}"
            )
        values = values.tolist()
    if not len(values):
        raise DataError("the list of texts is empty; add texts")
    first = values[0]
    if not isinstance(first, (str, bytes, Mapping)):
        help_ = _ARRAYS_HELP if isinstance(first, (int, float, list, tuple, np.ndarray, np.generic)) else ""
        raise DataError(
            f"a list of data must hold texts (strings) or records (dicts); received a list of "
            f"{type(first).__name__}{'; ' + help_ if help_ else ''}"
        )
    kind = "records" if isinstance(first, Mapping) else "texts"
    name = f"list of {len(values):,} {kind}"
    # A copy of the list, not of its values: appending to the list later does not change a run.
    held = tuple(values)
    columns = None
    if kind == "records":
        names = (
            key
            for value in itertools.islice(held, _BATCH_RECORDS)
            if isinstance(value, Mapping)
            for key in value
        )
        columns = list(dict.fromkeys(map(str, names)))
    return ObjectRecords(name, lambda: map(functools.partial(_as_record, name), held), columns)


def _as_record(name: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (str, bytes)):
        return {"text": value}
    raise DataError(
        f"{name} must give texts (strings) or records (dicts); received {shown(value)} of type "
        f"{type(value).__name__}"
    )
