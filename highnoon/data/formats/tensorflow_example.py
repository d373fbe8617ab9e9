"""Fields of a serialised `tf.train.Example`."""

from __future__ import annotations

from typing import Any

from highnoon.data.bad_rows import BadRowError


def example_values(record: bytes, place: str) -> dict[str, Any]:
    """Returns the features of an example: one value as itself, several as a list, none as None.

    Raises:
        BadRowError: the record is no example.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        raise BadRowError(f"{place}: the record is no tf.train.Example; write one with a bytes feature for "
                          f"each field", "no example", place) from None
    return {name: _value(feature) for name, feature in features.items()}


def _value(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    return values[0] if len(values) == 1 else values or None
