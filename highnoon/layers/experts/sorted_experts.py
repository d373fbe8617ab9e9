"""Runs experts over slices of sorted tokens: TensorFlow only, since the slices' sizes are dynamic."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from highnoon.layers.experts.gather_rows import gather_rows


def is_compiled_by_xla() -> bool:
    """Whether the graph being traced is for XLA, which requires static shapes."""
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def sorted_experts(x, expert_ids, gate_kernel, up_kernel, down_kernel):
    """SwiGLU experts, one product for each expert's slice of the tokens sorted by expert.

    Args:
        x: (b, t, d).
        expert_ids: (b, t, k); the number of experts for a choice without one.
        gate_kernel: (e, d, f).
        up_kernel: (e, d, f).
        down_kernel: (e, f, d).

    Returns:
        (b, t, k, d), the output of each chosen expert for the token; zeros for no expert.
    """
    num_experts, width = gate_kernel.shape[0], x.shape[-1]
    top_k = expert_ids.shape[-1]
    ids = tf.reshape(expert_ids, (-1,))
    order = tf.argsort(ids, stable=True)
    positions = tf.math.invert_permutation(order)
    sizes = tf.math.bincount(ids, minlength=num_experts + 1, maxlength=num_experts + 1)

    tokens = tf.reshape(x, (-1, width))
    inputs = gather_rows(tokens, order // top_k, tf.reshape(positions, (-1, top_k)), has_gaps=False)
    *slices, leftover = tf.split(inputs, sizes, num=num_experts + 1)
    # Unstacked once: the gradient of a slice of a stack is as large as the stack.
    kernels = zip(tf.unstack(gate_kernel), tf.unstack(up_kernel), tf.unstack(down_kernel), strict=True)
    outputs = [
        tf.matmul(tf.nn.silu(tf.matmul(part, gate)) * tf.matmul(part, up), down)
        for part, (gate, up, down) in zip(slices, kernels, strict=True)
    ]
    outputs = tf.concat([*outputs, tf.zeros_like(leftover)], axis=0)
    outputs = gather_rows(outputs, positions, order[:, None], has_gaps=False)
    return tf.reshape(outputs, tf.concat([tf.shape(expert_ids), [width]], axis=0))
