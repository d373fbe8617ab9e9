"""Notebooks: whether this process is the kernel of one, and output there."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_KERNELS = ("ZMQInteractiveShell", "Shell")  # Jupyter's, and Colab's


def in_notebook() -> bool:
    """Returns whether output can be HTML that is updated in place: in Jupyter or Colab."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ in _KERNELS


def show_in_notebook(value: Any) -> None:
    """Shows a value below the cell, by its `_repr_html_` where it has one."""
    importlib.import_module("IPython.display").display(value)
