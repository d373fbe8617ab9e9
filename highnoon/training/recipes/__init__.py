"""An entire run as one value: read from YAML, from keywords or from a saved run, checked, executed, saved.

`Recipe` and its checks load no TensorFlow; the functions that make a model or a trainer do.
"""

from highnoon.training.recipes.recipe import Recipe

__all__ = ["Recipe"]
