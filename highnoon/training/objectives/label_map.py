"""The numbers that stand for labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from highnoon.config import ConfigError, shown


def label_map(found: Iterable[str], num_labels: int) -> list[str]:
    """Returns the labels in the order of the numbers that stand for them.

    The order depends on the set of labels alone: integers below `num_labels` stand for themselves, other
    integers are in numeric and all other labels in alphabetic order.

    Args:
        found: All labels of the training data.
        num_labels: How many the model tells apart.

    Raises:
        ConfigError: there are more or fewer labels, and they are not integers below `num_labels`.
    """
    labels = set(found)
    if labels and all(_is_count(label) and int(label) < num_labels for label in labels):
        return [str(number) for number in range(num_labels)]
    if len(labels) != num_labels:
        raise ConfigError(
            f"the training data must have num_labels={num_labels} labels; received {len(labels)}: "
            f"{shown(sorted(labels))}; give another `num_labels`, or name them all with `labels`"
        )
    if all(_is_count(label.removeprefix("-")) for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def require_labels(labels: Sequence[str | int], num_labels: int) -> list[str]:
    """Returns labels that a user gave as text.

    Raises:
        ConfigError: they are not `num_labels` distinct strings or integers.
    """
    if isinstance(labels, (str, bytes)) or not all(
        isinstance(label, (str, int)) and not isinstance(label, bool) for label in labels
    ):
        raise ConfigError(f"`labels` must be a list of strings or integers; received {shown(labels)}")
    texts = [str(label) for label in labels]
    if len(texts) != num_labels or len(set(texts)) != num_labels:
        raise ConfigError(
            f"`labels` must be num_labels={num_labels} distinct labels; received {len(set(texts))} distinct "
            f"of {len(texts)}"
        )
    return texts


def _is_count(label: str) -> bool:
    return label.isascii() and label.isdigit() and str(int(label)) == label
