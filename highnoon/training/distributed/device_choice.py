"""Restricts the process to a device that is given by name."""

from __future__ import annotations

import re
from typing import Any

import tensorflow as tf

from highnoon.config import ConfigError, require_text
from highnoon.files.nearest_name import nearest_name
from highnoon.files.shown import shown

_NAME = re.compile(r"/?(?:device:)?([a-z]+)(?::(\d{1,9}))?")
_TYPES = {"cpu": "CPU", "gpu": "GPU", "cuda": "GPU"}


def use_device(name: str = "auto") -> str:
    """Restricts TensorFlow to one device, for training and for everything else in the process.

    | name | device |
    | --- | --- |
    | `"auto"` | every device that TensorFlow finds, as without this call |
    | `"cpu"` | the processor |
    | `"cuda"`, `"gpu"` | the first GPU |
    | `"cuda:1"`, `"gpu:1"`, `"/GPU:1"` | the second GPU |

    Call it before the first operation of TensorFlow. A device that does not exist is never replaced by
    another one.

    Args:
        name: The device; upper and lower case are one.

    Returns:
        TensorFlow's name of the device after the call, such as `"/GPU:0"`, or `"auto"`.

    Raises:
        ConfigError: there is no such device; the error names those that there are. Or TensorFlow has started
            with other devices.

    Example:

    ```python
    from highnoon.training.distributed import use_device

    assert use_device("cpu") == "/CPU:0"
    ```
    """
    if require_text("device", name).strip().lower() == "auto":
        return "auto"
    device = find_device(name)
    try:
        # A GPU needs the processor too, for input and for operations without a kernel.
        tf.config.set_visible_devices([device] if device.device_type == "GPU" else [], "GPU")
    except RuntimeError:
        raise ConfigError(
            f"`device` {shown(name)} must be chosen before TensorFlow starts, and it runs on other devices "
            "already; choose it at the beginning of the program"
        ) from None
    return f"/{device.device_type}:0"


def find_device(name: str) -> Any:
    """Returns TensorFlow's physical device of a name other than `"auto"`, see `use_device`.

    Args:
        name: The device.

    Raises:
        ConfigError: there is no such device.
    """
    found = _NAME.fullmatch(require_text("device", name).strip().lower())
    kind = _TYPES.get(found[1]) if found is not None else None
    there = {kind: tf.config.list_physical_devices(kind) for kind in ("CPU", "GPU")}
    if found is None or kind is None:
        near = nearest_name(name, ["auto", *_TYPES])
        hint = "" if near is None else f"did you mean `{near}`? "
        raise ConfigError(f"there is no device {shown(name)}; {hint}{_describe(there)}")
    index = int(found[2] or 0)
    if index >= len(there[kind]):
        raise ConfigError(f"there is no device {shown(name)}; {_describe(there)}")
    return there[kind][index]


def _describe(there: dict[str, list[Any]]) -> str:
    names = [f"cuda:{index}" for index in range(len(there["GPU"]))]
    return f"this machine has: {', '.join(['cpu', *names])}"
