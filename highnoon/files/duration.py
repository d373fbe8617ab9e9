"""Durations as people say them."""

from __future__ import annotations


def duration_text(seconds: float) -> str:
    """Returns a duration with its two largest units: `41 s`, `2 min 5 s`, `3 h 20 min`, `2 d 4 h`.

    Example:

    ```python
    from highnoon.files.duration import duration_text

    assert duration_text(125) == "2 min 5 s"
    ```
    """
    return f"{seconds:.1f} s" if seconds < 10 else whole_duration_text(round(seconds))


def whole_duration_text(seconds: int) -> str:
    """Returns a duration of whole seconds with its two largest units, without tenths of a second."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
