"""The fields of a serialized `tf.train.Example`."""

from __future__ import annotations

from typing import Any

from highnoon.data.bad_records import BadRecordError
from highnoon.data.records.record_values import shown_names

# Maximum number of values of a feature: each takes far more memory than in the file.
MAX_VALUES = 1_000_000


def example_values(record: bytes, location: str) -> dict[str, Any]:
    """Returns the features of an example: one value as itself, several as a list, none as None.

    Raises:
        BadRecordError: If the record is not an example, or a feature has more than a million values.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        raise BadRecordError(
            f"{location}: the record is not a tf.train.Example; write one with a bytes feature for each "
            f"field",
            "no example",
            location,
        ) from None
    return {name: _value(feature, name, location) for name, feature in features.items()}


def _value(feature: Any, name: str, location: str) -> Any:
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    if len(values) > MAX_VALUES:
        raise BadRecordError(
            f"{location}: a feature may have at most {MAX_VALUES:,} values; {shown_names([name])} has "
            f"{len(values):,}; write text as one value",
            "too many values",
            location,
        )
    values = list(values)
    return values[0] if len(values) == 1 else values or None
