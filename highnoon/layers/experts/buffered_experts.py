"""Runs experts over a buffer of static shape, which XLA requires."""

from __future__ import annotations

from keras import ops

from highnoon.layers.experts.gather_rows import gather_rows

_BLOCKS_PER_EXPERT = 2  # more cost kernel copies, fewer cost empty slots


def buffered_experts(x, expert_ids, positions, kernels, capacity: int | None):
    """SwiGLU experts over a buffer (block, slot, d), one batched product a kernel.

    With a capacity, a block is one expert and has `capacity` slots for each row. Without one nothing may be
    dropped, and a buffer with room for every token at every expert would be mostly empty: then a block holds
    half an expert's even load, an expert gets as many blocks as its tokens fill, and
    `_BLOCKS_PER_EXPERT + 1` blocks for each expert are always enough.

    Args:
        x: (b, t, d).
        expert_ids: (b, t, k) int32; the number of experts for a choice without one.
        positions: (b, t, k) int32, each choice's position among its row's choices of that expert, below
            `capacity` wherever the choice has an expert.
        kernels: Gate (e, d, f), up (e, d, f) and down (e, f, d).
        capacity: Slots that a row has at one expert; None for as many as it takes.

    Returns:
        (b, t, k, d), the output of each chosen expert for the token; zeros for no expert.

    Gale et al. 2022, MegaBlocks (arXiv:2211.15841), section 5, with few large blocks in place of
    block-sparse products.
    """
    batch, time, width = ops.shape(x)[0], ops.shape(x)[1], x.shape[-1]
    num_experts, top_k = kernels[0].shape[0], expert_ids.shape[-1]
    num_choices = batch * time * top_k
    if capacity is None:
        slots, block_experts, num_slots = _fit_blocks(expert_ids, positions, num_experts, num_choices)
        kernels = [_kernels_of_blocks(kernel, block_experts) for kernel in kernels]
    else:
        rows = ops.arange(batch, dtype="int32")[:, None, None]
        slots = (expert_ids * batch + rows) * capacity + positions
        num_slots = num_experts * batch * capacity
    slots = ops.reshape(ops.where(expert_ids < num_experts, slots, num_slots), (-1,))

    numbered = ops.arange(1, num_choices + 1, dtype="int32")
    taken = ops.scatter(slots[:, None], numbered, (num_slots + 1,))[:num_slots]
    choices = ops.where(taken > 0, taken - 1, num_choices)  # which choice sits in each slot
    inputs = gather_rows(
        ops.reshape(x, (-1, width)), choices // top_k, ops.reshape(slots, (-1, top_k)), has_gaps=True
    )
    outputs = _feed_forward(ops.reshape(inputs, (ops.shape(kernels[0])[0], -1, width)), *kernels)
    outputs = gather_rows(ops.reshape(outputs, (-1, width)), slots, choices[:, None], has_gaps=True)
    return ops.reshape(outputs, (batch, time, top_k, width))


def _feed_forward(inputs, gate_kernel, up_kernel, down_kernel):
    hidden = ops.silu(ops.einsum("ecd,edf->ecf", inputs, gate_kernel))
    hidden = hidden * ops.einsum("ecd,edf->ecf", inputs, up_kernel)
    return ops.einsum("ecf,efd->ecd", hidden, down_kernel)


def _fit_blocks(expert_ids, positions, num_experts: int, num_choices):
    """Returns each choice's slot, each block's expert, and the number of slots."""
    block_size = _divide_up(num_choices, _BLOCKS_PER_EXPERT * num_experts)
    busy = min(num_experts, num_choices) if isinstance(num_choices, int) else num_experts
    num_blocks = (num_choices + busy * (block_size - 1)) // block_size

    chosen = ops.one_hot(expert_ids, num_experts, dtype="int32")  # (b, t, k, e), zeros for no expert
    by_row = ops.sum(chosen, axis=(1, 2))
    before_row = ops.cumsum(by_row, axis=0) - by_row
    block_ends = ops.cumsum(_divide_up(ops.sum(by_row, axis=0), block_size))
    starts = ops.concatenate([ops.zeros((1,), block_ends.dtype), block_ends[:-1]]) * block_size
    slots = ops.sum(chosen * (starts + before_row)[:, None, None, :], axis=-1) + positions
    is_beyond = ops.arange(num_blocks, dtype="int32")[:, None] >= block_ends[None, :]
    block_experts = ops.minimum(ops.sum(ops.cast(is_beyond, "int32"), axis=-1), num_experts - 1)
    return slots, block_experts, num_blocks * block_size


def _kernels_of_blocks(kernel, block_experts):
    """(block, ..) from (e, ..), with a product for the gradient: scattering kernels is slow."""
    block_experts = ops.stop_gradient(block_experts)
    num_experts, *shape = kernel.shape

    @ops.custom_gradient
    def take(kernel):
        def gradient(*upstreams, upstream=None):
            if upstream is None:
                (upstream,) = upstreams
            is_of = ops.one_hot(block_experts, num_experts, axis=0, dtype=upstream.dtype)  # (e, block)
            return ops.matmul(is_of, upstream)

        return ops.take(kernel, block_experts, axis=0), gradient

    # Reshaping reads the variable: one that is read inside would have to take its gradient there.
    return ops.reshape(take(ops.reshape(kernel, (num_experts, -1))), (-1, *shape))


def _divide_up(count, size):
    return (count + size - 1) // size
