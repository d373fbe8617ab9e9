"""Experts over buffers of fixed size: static shapes, as XLA wants them."""

from __future__ import annotations

from keras import ops

from highnoon.layers.gather_rows import gather_rows


def capacity_experts(x, expert_ids, places, gate_kernel, up_kernel, down_kernel, capacity: int):
    """SwiGLU experts over a buffer (e, b * capacity, d), one batched product a kernel.

    Args:
        x: (b, t, d).
        expert_ids: (b, t, k); the number of experts for a choice that goes nowhere.
        places: (b, t, k), each choice's place among its row's choices of that expert, below
            `capacity` wherever the choice goes somewhere.
        gate_kernel: (e, d, f).
        up_kernel: (e, d, f).
        down_kernel: (e, f, d).
        capacity: Places that a row has with one expert.

    Returns: (b, t, k, d), what each chosen expert made of the token; zeros for no expert.
    """
    num_experts = gate_kernel.shape[0]
    batch, time, width = ops.shape(x)[0], ops.shape(x)[1], x.shape[-1]
    top_k = expert_ids.shape[-1]
    num_choices, num_slots = batch * time * top_k, num_experts * batch * capacity

    rows = ops.arange(batch, dtype="int32")[:, None, None]
    slots = (expert_ids * batch + rows) * capacity + places
    slots = ops.reshape(ops.where(expert_ids < num_experts, slots, num_slots), (-1,))
    numbered = ops.arange(1, num_choices + 1, dtype="int32")
    taken = ops.scatter(slots[:, None], numbered, (num_slots + 1,))[:num_slots]
    choices = ops.where(taken > 0, taken - 1, num_choices)  # which choice sits in each slot

    tokens = ops.reshape(x, (-1, width))
    inputs = gather_rows(tokens, choices // top_k, ops.reshape(slots, (-1, top_k)), has_gaps=True)
    inputs = ops.reshape(inputs, (num_experts, -1, width))
    hidden = ops.silu(ops.einsum("ecd,edf->ecf", inputs, gate_kernel))
    hidden = hidden * ops.einsum("ecd,edf->ecf", inputs, up_kernel)
    outputs = ops.reshape(ops.einsum("ecf,efd->ecd", hidden, down_kernel), (-1, width))
    outputs = gather_rows(outputs, slots, choices[:, None], has_gaps=True)
    return ops.reshape(outputs, (batch, time, top_k, width))
