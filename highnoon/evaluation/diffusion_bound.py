"""A bound on the likelihood of text under block diffusion with blocks of several tokens."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from highnoon.config import require_count
from highnoon.config.known_arguments import known_arguments
from highnoon.data.sequences.block_noise import block_layout
from highnoon.inference.block_diffusion.diffusion_outputs import mask_id_of
from highnoon.training.objective import Objective, Terms
from highnoon.training.objectives.block_diffusion.block_diffusion import BlockDiffusion
from highnoon.training.objectives.block_diffusion.block_inputs import noisy_inputs
from highnoon.training.objectives.block_diffusion.next_token_of_blocks import sums_of
from highnoon.training.plans.supervises_all import supervises_all
from highnoon.training.steps.evaluation import EvaluationStep

if TYPE_CHECKING:
    from highnoon.data import PackedRows

_ROOM_STEP = 64  # rows are padded to multiples, so that few shapes are compiled


@dataclasses.dataclass(frozen=True)
class DiffusionBound:
    """A model's loss on a split is at most this.

    Args:
        block_length: Tokens of a block.
        num_steps: Steps for a block.
        loss_at_most: Nats a token.
        bits_per_byte_at_most: None where only parts of the text are supervised.
        num_tokens: Supervised tokens of the split.
        num_bytes: UTF-8 bytes of the split's text.
    """

    block_length: int
    num_steps: int
    loss_at_most: float
    bits_per_byte_at_most: float | None
    num_tokens: int
    num_bytes: int

    def __str__(self) -> str:
        bits = self.bits_per_byte_at_most
        of_bytes = "" if bits is None else f", at most {bits:.3f} bits per byte"
        return f"blocks of {self.block_length}: at most {self.loss_at_most:.4f} nats a token{of_bytes}"


@known_arguments
def diffusion_bound(
    model: keras.Model,
    rows: PackedRows,
    block_length: int,
    num_steps: int | None = None,
    batch_size: int = 8,
    num_samples: int = 1,
    seed: int = 0,
) -> DiffusionBound:
    """Returns the bound of the process of `generate_blocks` with as many steps, for every row of a split.

    ```
    -log p(block) <= sum over m of  step_weights[m] * E[sum of the cross entropies of m masked tokens]
    ```

    The expectation is over the sets of m masked tokens. Each is estimated by `num_samples` random sets,
    without bias, in `block_length` passes for all m: how many tokens are masked before a step is summed out,
    not drawn. With one step all tokens are masked at once and the bound is the exact likelihood of that
    process. Where tokens are harder to tell the more of them are masked, the bound falls as steps are added.
    The likelihood of blocks of one token is `evaluate_model`'s, and exact.

    A block in which a document ends counts the end tokens that fill it, as generation draws them.

    Args:
        model: A model that was trained with `objective="block_diffusion"`.
        rows: The split, packed.
        block_length: Tokens of a block, at least 1.
        num_steps: Steps T for one block, at least 1; None takes `block_length`.
        batch_size: Rows computed together.
        num_samples: Random sets for each m and block.
        seed: Of the random sets.

    Raises:
        ConfigError: the model is none of block diffusion, or a number is below 1.

    Example:

    ```python
    from highnoon.evaluation.diffusion_bound import step_weights

    assert step_weights(num_tokens=2, num_steps=1).tolist() == [0.0, 0.0, 1.0]
    ```

    Sahoo et al. 2024, MDLM (arXiv:2406.07524), eq. 8, with the number of masked tokens summed out.
    """
    num_steps = block_length if num_steps is None else num_steps
    for name, count in (("batch_size", batch_size), ("num_samples", num_samples)):
        require_count(name, count)
    view = rows.view(epoch=0)
    batches = (view.read(start, batch_size) for start in range(0, view.num_rows, batch_size))
    nats, num_tokens = bound_sums(model, batches, block_length, num_steps, num_samples, seed)
    of_text = supervises_all(rows)
    return DiffusionBound(
        block_length=block_length,
        num_steps=num_steps,
        loss_at_most=nats / num_tokens,
        bits_per_byte_at_most=nats / math.log(2) / rows.num_bytes if of_text else None,
        num_tokens=round(num_tokens),
        num_bytes=rows.num_bytes,
    )


def bound_sums(
    model: keras.Model,
    batches: Iterable[Mapping[str, npt.NDArray[Any]]],
    block_length: int,
    num_steps: int,
    num_samples: int = 1,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the bound of some batches in nats, and their supervised tokens.

    Args:
        model: As of `diffusion_bound`, as the others.
        batches: With the columns of packed rows.
        block_length: Tokens of a block.
        num_steps: Steps for a block.
        num_samples: Random sets.
        seed: Of them.
    """
    require_count("block_length", block_length)
    require_count("num_steps", num_steps)
    mask_id = mask_id_of(model)
    end_id = getattr(model.tokenizer, "eos_token_id", None)
    step = EvaluationStep(model, objective=_NoisyLoss(mask_id))
    weights = np.zeros((block_length + 1, block_length + 1))
    for count in range(1, block_length + 1):
        weights[count, : count + 1] = step_weights(count, num_steps)
    nats = num_tokens = 0.0
    first_row = 0
    for batch in batches:
        num_rows = len(batch["token_ids"])
        rngs = [np.random.default_rng([seed, first_row + row]) for row in range(num_rows)]
        for _ in range(num_samples):
            for noisy in _noisy_batches(batch, block_length, end_id, weights, rngs):
                nats += step([noisy]).loss_sum / num_samples
        num_tokens += float(batch["loss_weights"].sum())
        first_row += num_rows
    return nats, num_tokens


def step_weights(num_tokens: int, num_steps: int) -> npt.NDArray[np.float64]:
    """Returns the weight of each number of masked tokens, (num_tokens + 1,), in the bound of a block.

    ```
    weight[m] = sum over i = 1 .. T of  1 / i * Binomial(m; num_tokens, i / T)
    ```

    Of the tokens that are masked before the step to time (i - 1) / T each is revealed with probability 1 / i.

    Args:
        num_tokens: Tokens of the block, at least 1.
        num_steps: T, at least 1.
    """
    weights = np.zeros(num_tokens + 1)
    for i in range(1, num_steps + 1):
        rate = i / num_steps
        for m in range(1, num_tokens + 1):
            weights[m] += math.comb(num_tokens, m) * rate**m * (1 - rate) ** (num_tokens - m) / i
    return weights


class _NoisyLoss(Objective):
    """The weighted cross entropies of the masked tokens of given noisy rows."""

    columns = BlockDiffusion.columns

    def __init__(self, mask_id: int) -> None:
        self.mask_id = mask_id

    def weight(self, batch: Mapping[str, Any]) -> Any:
        return ops.sum(batch["noise_weights"])

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        inputs = noisy_inputs(batch, self.mask_id)
        inputs |= {"labels": batch["noisy_labels"], "loss_weights": batch["noise_weights"]}
        return sums_of(model, inputs, training, self.mask_id)


def _noisy_batches(
    batch: Mapping[str, npt.NDArray[Any]],
    block_length: int,
    end_id: int | None,
    weights: npt.NDArray[np.float64],
    rngs: list[np.random.Generator],
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yields a batch for each number m of masked tokens in a block that has a weight.

    Args:
        batch: Packed rows.
        block_length: Tokens of a block.
        end_id: The token at the end of a document.
        weights: `step_weights` for each number of tokens of a block, (tokens, m).
        rngs: One a row.
    """
    num_rows, length = batch["token_ids"].shape
    layouts = [
        block_layout({name: array[row] for name, array in batch.items()}, block_length, end_id)
        for row in range(num_rows)
    ]
    longest = max(length, *(len(layout.labels) for layout in layouts))
    room = longest if longest == length else -(-longest // _ROOM_STEP) * _ROOM_STEP

    def padded(arrays: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.stack([np.pad(array, (0, room - len(array))) for array in arrays])

    columns = {
        name: padded(batch[name])
        for name in ("token_ids", "labels", "loss_weights", "segment_ids", "positions")
    }
    columns["noisy_labels"] = padded(layout.labels for layout in layouts)
    columns["noisy_positions"] = padded(layout.positions for layout in layouts)
    columns["noisy_segment_ids"] = padded(layout.segment_ids for layout in layouts)
    columns["block_lengths"] = np.full(num_rows, block_length, np.int32)
    is_shown = padded(layout.is_shown for layout in layouts)
    token_weights = padded(layout.weights for layout in layouts)
    pairs = [_ranks(one.blocks, one.weights > 0, rng) for one, rng in zip(layouts, rngs, strict=True)]
    ranks, counts = padded(rank for rank, _ in pairs), padded(count for _, count in pairs)
    for m in range(1, block_length + 1):
        is_chosen = (token_weights > 0) & (ranks < m)
        noise_weights = token_weights * is_chosen * weights[counts, m]
        if noise_weights.any():
            yield {
                **columns,
                "is_masked": (is_chosen | ((token_weights == 0) & ~is_shown)).astype(np.int32),
                "noise_weights": noise_weights.astype(np.float32),
            }


def _ranks(
    blocks: npt.NDArray[Any], is_predicted: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns a random rank from 0 for the predicted tokens of each block, and how many the block has."""
    keys = np.where(is_predicted, rng.random(len(blocks)), 2.0)
    order = np.lexsort((keys, blocks))
    firsts = np.searchsorted(blocks, blocks)  # blocks are sorted
    ranks = np.empty(len(blocks), np.int64)
    ranks[order] = np.arange(len(blocks)) - firsts
    num_blocks = int(blocks[-1]) + 1 if len(blocks) else 0
    return ranks, np.bincount(blocks, is_predicted, num_blocks).astype(np.int64)[blocks]
