"""The activations of feed-forwards, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from keras import ops

from highnoon.config import FFN_ACTIVATIONS, require_choice

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "silu": ops.silu,
    "gelu": partial(ops.gelu, approximate=False),
    "gelu_tanh": partial(ops.gelu, approximate=True),
    "relu": ops.relu,
}
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {name: _FUNCTIONS[name] for name in FFN_ACTIVATIONS}
"""`gelu` is the exact form, `gelu_tanh` its approximation by tanh.

Hendrycks & Gimpel 2016 (arXiv:1606.08415), section 2.
"""


def activation_function(name: str) -> Callable[[Any], Any]:
    """Returns the activation of a name.

    Raises:
        ValueError: it is none of `ACTIVATIONS`.
    """
    return ACTIVATIONS[require_choice("activation", name, FFN_ACTIVATIONS)]
