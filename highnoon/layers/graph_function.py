"""Functions compiled into TensorFlow graphs, each with a count of traces of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def graph_function(function: Callable[..., Any], **options: Any) -> Any:
    """Returns a `tf.function` without autograph, whose traces TensorFlow counts by this object.

    TensorFlow warns of retracing where five of the last ten calls of a function were traced, and counts all
    functions of one piece of source together: five trainers in a process, each of which traces its own
    function once, cause the warning. A partial has no source of its own and is counted by its object, so only
    a function that is traced again and again causes it.

    Args:
        function: Of tensors, or of nested structures of them.
        **options: Of `tf.function`, such as `input_signature` or `jit_compile`.

    Example:

    ```python
    import tensorflow as tf

    from highnoon.layers.graph_function import graph_function

    double = graph_function(lambda x: 2 * x, input_signature=[tf.TensorSpec((), tf.float32)])
    assert double(tf.constant(3.0)).numpy() == 6
    ```
    """
    import tensorflow as tf

    return tf.function(functools.partial(function), autograph=False, **options)
