"""Checks of an argument's type and range, with the same messages everywhere in the package."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from typing import Any, cast

from highnoon.config.config_error import ConfigError
from highnoon.files.expand_home import expand_home
from highnoon.files.shown import shown

MAX_COUNT = 2**63 - 1
"""Steps, tokens and intervals are at most this: what 64 bits hold."""
MAX_SIZE = 2**31 - 1
"""Token ids and positions are 32 bits, and so is every size of a tensor that comes from them."""
_MAX_FLOAT32 = 3.4028234663852886e38
_MIN_FLOAT32 = 1.1754943508222875e-38


def require(condition: bool, message: str) -> None:
    """Raises a `ConfigError` with a message unless a condition holds."""
    if not condition:
        raise ConfigError(message)


def require_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    error: type[ValueError] = ConfigError,
) -> float:
    """Returns `value` as a float, after checking that it is a finite number in a range.

    NumPy numbers are accepted; bools and strings are not. A finite number is one that float32, in which
    models are trained, can represent.

    Args:
        name: Name of the argument, for the message.
        value: What was received.
        least: Smallest value.
        above: Bound that the value must exceed.
        most: Largest value.
        below: Bound that the value must stay below.
        error: Exception class to raise.

    Raises:
        ConfigError: `value` is not such a number.
    """
    expected = _range(least, above, most, below)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number:
        raise error(f"`{name}` must be a number; received {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= _MAX_FLOAT32:
        raise error(f"`{name}` must be {expected}{' and ' * bool(expected)}finite; received {shown(value)}")
    if not _is_within(number, least, above, most, below):
        expected = "not be negative" if expected == "at least 0" else f"be {expected}"
        raise error(f"`{name}` must {expected}; received {number!r}")
    if above == 0 and number < _MIN_FLOAT32:
        raise error(f"`{name}` must be above 0, at least {_MIN_FLOAT32:g}; received {shown(value)}")
    return number


def require_count(
    name: str,
    value: Any,
    *,
    least: int = 1,
    most: int = MAX_COUNT,
    error: type[ValueError] = ConfigError,
) -> int:
    """Returns `value` as an int, after checking that it is a integer in a range.

    NumPy integers are accepted; bools, strings and floats are not.

    Args:
        name: Name of the argument, for the message.
        value: What was received.
        least: Smallest value.
        most: Largest value.
        error: Exception class to raise.

    Raises:
        ConfigError: `value` is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise error(f"`{name}` must be a whole number; received {shown(value)}")
    if int(value) < least:
        expected = f"must be at least {least}" if least else "must not be negative"
        raise error(f"`{name}` {expected}; received {shown(value)}")
    if int(value) > most:
        raise error(f"`{name}` must be at most {most:,}; received {shown(value)}")
    return int(value)


def require_choice(
    name: str, value: Any, choices: Sequence[str], error: type[ValueError] = ConfigError
) -> str:
    """Returns `value`, after checking that it is one of the strings in `choices`.

    Raises:
        ConfigError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise error(f"`{name}` must be one of {', '.join(choices)}; received {shown(value)}")
    return value


def require_flag(name: str, value: Any, error: type[ValueError] = ConfigError) -> bool:
    """Returns `value`, after checking that it is true or false.

    Raises:
        ConfigError: it is neither.
    """
    if not isinstance(value, bool):
        raise error(f"`{name}` must be true or false; received {shown(value)}")
    return value


def require_text(name: str, value: Any, error: type[ValueError] = ConfigError) -> str:
    """Returns `value`, after checking that it is a string that is neither empty nor contains NUL.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise error(f"`{name}` must be a text; received {shown(value)}")
    return value


def require_texts(name: str, value: Any, error: type[ValueError] = ConfigError) -> list[str]:
    """Returns `value` as a list, after checking that it is a string or a list of strings.

    Raises:
        ConfigError: it is not.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise error(f"`{name}` must be a text or a list of texts; received {shown(value)}")
    return list(texts)


def require_path(name: str, value: Any, error: type[ValueError] = ConfigError) -> str | os.PathLike[str]:
    """Returns `value` with a leading `~` expanded, after checking that it can be the path of a file.

    Every path that a user gives passes here. A string stays a string, so that messages show what was given.

    Raises:
        ConfigError: it is neither a path object nor a string, or it is empty or contains NUL.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise error(f"`{name}` must be a path; received {shown(value)}")
    if not text.startswith("~"):
        return cast("str | os.PathLike[str]", value)
    path = expand_home(text)
    return str(path) if isinstance(value, str) else path


def _range(least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    lowest = least if least is not None else above
    highest = most if most is not None else below
    if lowest is not None and highest is not None:
        return f"in {'(' if least is None else '['}{lowest:g}, {highest:g}{')' if most is None else ']'}"
    if lowest is not None:
        return f"at least {least:g}" if least is not None else f"above {above:g}"
    if highest is not None:
        return f"at most {most:g}" if most is not None else f"below {below:g}"
    return ""


def _is_within(
    number: float, least: float | None, above: float | None, most: float | None, below: float | None
) -> bool:
    return (
        (least is None or number >= least)
        and (above is None or number > above)
        and (most is None or number <= most)
        and (below is None or number < below)
    )
