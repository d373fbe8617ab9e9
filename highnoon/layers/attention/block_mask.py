"""Which tokens see one another in block diffusion: noisy blocks, and the clean blocks before them."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops


class BlockStep(NamedTuple):
    """How new tokens are decoded in blocks.

    Args:
        length: Tokens of a block, at least 1; the first token of a document precedes its first block.
        is_noisy: Whether the new tokens are a noisy copy: they see the stored tokens of earlier blocks and
            the new ones of their own block, and are not stored. Otherwise they are clean and stored, and see
            all tokens up to the end of their block; a block must be complete, or be the last one.
        begins_here: Whether the new tokens are one block, wherever those of the document begin, after all
            tokens that are stored before it.
    """

    length: int
    is_noisy: bool = False
    begins_here: bool = False


def block_numbers(positions: Any, length: Any) -> Any:
    """Returns the number of each token's block in its document.

    ```
    block[p] = ceil(p / length):    0 | 1 .. length | length + 1 .. 2 length | ...
    ```

    The first token of a document is given, as a begin token is, and never predicted: it is block 0.

    Args:
        positions: Integers, the positions in the document, from 0.
        length: Tokens of a block, at least 1; a scalar, or an array that broadcasts with `positions`.
    """
    return (positions + length - 1) // length


def block_ids(positions: Any, length: Any, *, is_noisy: bool) -> Any:
    """Returns what `may_see` compares: 2 n for a clean token of block n, and 2 n - 1 for a noisy one.

    Args:
        positions: As in `block_numbers`.
        length: As in `block_numbers`.
        is_noisy: Whether the tokens are a noisy copy, from position 1 on.
    """
    return 2 * block_numbers(positions, length) - int(is_noisy)


def may_see(query_ids: Any, key_ids: Any) -> Any:
    """Returns whether a query of block diffusion attends to a key.

    ```
    key == query                    the own block, noisy or clean: both ways
    key < query and key is even     clean tokens of earlier blocks
    ```

    With blocks of one token, the clean half is causal, and a noisy token sees the clean tokens before it and
    itself: one pass gives the exact distribution of each next token.

    Args:
        query_ids: Of `block_ids`, with any axes that broadcast with `key_ids`.
        key_ids: Of `block_ids`.

    Returns:
        bool.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.attention.block_mask import block_ids, may_see

    noisy, clean = np.arange(1, 3), np.arange(3)          # positions
    ids = np.concatenate([block_ids(noisy, 1, is_noisy=True), block_ids(clean, 1, is_noisy=False)])
    mask = may_see(ids[:, None], ids[None, :]).astype(int)
    assert mask[:2].tolist() == [[1, 0, 1, 0, 0], [0, 1, 1, 1, 0]]
    assert (mask[2:, :2] == 0).all() and (mask[2:, 2:] == np.tri(3)).all()
    ```

    Arriola et al. 2025, Block Diffusion (arXiv:2503.09573), section 3.2 and appendix B.
    """
    return (key_ids == query_ids) | ((key_ids < query_ids) & (key_ids % 2 == 0))


def cached_mask(
    query_slots: Any,
    num_keys: int,
    num_new: int,
    first: Any,
    index: Any,
    blocks: BlockStep,
    window: int | None = None,
) -> Any:
    """Returns which keys the new tokens of a step attend to.

    Args:
        query_slots: (t,) slots of some of the new tokens.
        num_keys: Keys: the slots of the cache, for a noisy copy followed by the new tokens.
        num_new: New tokens of the step, from slot `index` on.
        first: (b,) slot of each row's first real token; None for 0.
        index: Slot of the first new token, a scalar.
        blocks: How they are decoded.
        window: A query attends to keys less than this many tokens before it; None for no limit.

    Returns:
        bool (t, s), or (b, t, s) with `first`.
    """
    new = index + ops.arange(num_new, dtype="int32")
    stored = ops.arange(num_keys - num_new if blocks.is_noisy else num_keys, dtype="int32")

    def numbers(slots: Any) -> Any:
        if blocks.begins_here:
            is_new = ops.cast(slots >= index, "int32")[None, :]
            return is_new if first is None else ops.repeat(is_new, first.shape[0], axis=0)
        positions = slots[None, :] if first is None else slots[None, :] - first[:, None]
        return block_numbers(positions, blocks.length)

    query, key = numbers(query_slots)[:, :, None], numbers(stored)[:, None, :]
    is_real = stored[None, None, :] >= (0 if first is None else first[:, None, None])
    if blocks.is_noisy:
        of_block = numbers(new)[:, None, :] == query
        sees = ops.concatenate([(key < query) & is_real, of_block], axis=-1)
        key_slots = ops.concatenate([stored, new])
    else:
        sees = (key <= query) & is_real & (stored < index + num_new)
        key_slots = stored
    if window is not None:
        sees = sees & (query_slots[:, None] - key_slots[None, :] < window)
    return sees[0] if first is None else sees
