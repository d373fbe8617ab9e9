"""A curve as one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

_UNICODE, _ASCII = "▁▂▃▄▅▆▇█", "_.-:=+*#"
_BROKEN = "!"


def sparkline(
    values: Sequence[float], width: int = 32, *, is_ascii: bool = False, is_logarithmic: bool = False
) -> str:
    """Returns the values as a line of bars, scaled from the lowest to the highest; `!` if one is not finite.

    If there are more values than bars, each bar is the average of about equally many values.

    Args:
        values: The values, in order.
        width: Number of bars.
        is_ascii: Whether to use ASCII characters.
        is_logarithmic: Whether heights are logarithms; values without a logarithm are drawn lowest.
    """
    marks = _ASCII if is_ascii else _UNICODE
    heights = [_mean(part) for part in _parts(values, width)]
    if is_logarithmic:
        positive = [height for height in heights if 0 < height < math.inf]
        floor = min(positive, default=1.0)
        heights = [math.log(max(h, floor)) if math.isfinite(h) else h for h in heights]
    finite = [height for height in heights if math.isfinite(height)]
    # The difference of halves does not overflow.
    lowest = min(finite, default=0.0) / 2
    spread = max(finite, default=0.0) / 2 - lowest

    def mark(height: float) -> str:
        if not math.isfinite(height):
            return _BROKEN
        return marks[round((height / 2 - lowest) / spread * (len(marks) - 1)) if spread > 0 else 0]

    return "".join(map(mark, heights))


def _parts(values: Sequence[float], width: int) -> list[Sequence[float]]:
    """Splits values into at most `width` parts whose lengths differ by at most one."""
    count = min(width, len(values))
    bounds = [index * len(values) // count for index in range(count + 1)] if count else [0]
    return [values[begin:end] for begin, end in zip(bounds, bounds[1:], strict=False)]


def _mean(part: Sequence[float]) -> float:
    return sum(value / len(part) for value in part)
