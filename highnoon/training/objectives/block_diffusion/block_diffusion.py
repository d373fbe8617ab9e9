"""Block diffusion: masked tokens of a block are predicted together, block after block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from highnoon.config import ConfigError, require_count, require_number, shown
from highnoon.data.sequences.block_diffusion_rows import BlockDiffusionRows
from highnoon.inference.block_diffusion.diffusion_outputs import describe_diffusion, find_mask_id
from highnoon.training.objective import NEXT_TOKEN_COLUMNS, Column, Objective, Terms, register_objective
from highnoon.training.objectives.block_diffusion.block_inputs import noisy_inputs
from highnoon.training.objectives.block_diffusion.next_token_of_blocks import exact_terms, sums_of

if TYPE_CHECKING:
    from highnoon.training.plans.row_preparation import RowPreparation, StageRows
    from highnoon.training.plans.stage_sources import StageSources


@register_objective("block_diffusion")
class BlockDiffusion(Objective):
    """The loss of masked tokens, two-way within a block and causal between blocks.

    ```
    loss = sum over masked tokens of  1 / rate[block] * H(token, model(noisy block, clean blocks before it))
    ```

    a mean over supervised tokens, in nats. The model reads the noisy copy of a row followed by the row. The
    block length of a row is drawn from `block_sizes`, and each block has a masking rate of its own, spread
    evenly over [least_mask_rate, 1]: with the log-linear schedule the rate is the time. With blocks of one
    token every token is masked, and the loss is the exact one of the next token.

    The held-out loss is that of blocks of one token, an exact likelihood that compares with any model's.
    Longer blocks have a bound instead, see `diffusion_bound`.

    The model's mixers must all be attention. The mask is an id that no text has: `<|mask|>` of HighNoon's
    tokenizers, or `mask_id`. For a tokenizer without one, create the model with one id more
    (`vocab_size=tokenizer.vocab_size + 1`) and give that id. It never has a probability.

    Args:
        block_sizes: Block lengths in tokens, each at least 1.
        mask_id: The id of the mask, at least 0; None takes that of the tokenizer.
        least_mask_rate: Smallest rate, in (0, 1].

    Raises:
        ConfigError: an argument is out of its range, there is no mask, or the model has other mixers.

    Example:

    ```python
    from highnoon.training.objectives import BlockDiffusion

    objective = BlockDiffusion(block_sizes=(1, 4), mask_id=6)
    assert objective.describe_outputs()["expert_kind"] == "block_diffusion"
    ```

    Arriola et al. 2025, Block Diffusion (arXiv:2503.09573), eq. 8; Sahoo et al. 2024, MDLM
    (arXiv:2406.07524). The clean half of a row is never noisy, and rates are bounded below by 0.1 in place of
    an interval that is searched for.
    """

    columns = {
        **NEXT_TOKEN_COLUMNS,
        "noisy_labels": Column("int32", ("token",)),
        "noisy_positions": Column("int32", ("token",)),
        "noisy_segment_ids": Column("int32", ("token",)),
        "is_masked": Column("int32", ("token",)),
        "noise_weights": Column("float32", ("token",)),
        "block_lengths": Column("int32", (), padding=1),
    }
    figures: Sequence[str] = ("perplexity", "bits_per_byte")
    is_likelihood = True

    def __init__(
        self,
        block_sizes: Sequence[int] = (1, 4, 8, 16),
        mask_id: int | None = None,
        least_mask_rate: float = 0.1,
    ) -> None:
        if isinstance(block_sizes, (str, bytes)) or not isinstance(block_sizes, Sequence) or not block_sizes:
            raise ConfigError(f"`block_sizes` must be a list of integers; received {shown(block_sizes)}")
        self.block_sizes = tuple(require_count("block_sizes", size) for size in block_sizes)
        self.mask_id = None if mask_id is None else require_count("mask_id", mask_id, least=0)
        self.least_mask_rate = require_number("least_mask_rate", least_mask_rate, above=0, most=1)

    def weight(self, batch: Mapping[str, Any]) -> Any:
        """Supervised tokens."""
        return ops.sum(batch["loss_weights"])

    def aux_weight(self, batch: Mapping[str, Any]) -> Any:
        """Tokens that are not padding."""
        return ops.sum(ops.cast(batch["segment_ids"] > 0, "float32"))

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        mask_id = self._mask_id_of(model)
        if not training:
            return exact_terms(model, batch, training, mask_id)
        inputs = noisy_inputs(batch, mask_id)
        inputs |= {"labels": batch["noisy_labels"], "loss_weights": batch["noise_weights"]}
        return sums_of(model, inputs, training, mask_id)

    def report(self, loss: float, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}

    def sequences(self, sources: StageSources, preparation: RowPreparation) -> StageRows:
        """Returns packed rows with their noise.

        Raises:
            ConfigError: a source is a stream, or the tokenizer has no mask.
        """
        if sources.streamed:
            raise ConfigError(
                f"stage `{preparation.stage.name}` reads {sources.streamed[0]} as a stream, and block "
                "diffusion reads prepared rows; read it without `stream`"
            )
        self.mask_id = find_mask_id(self.mask_id, preparation.tokenizer)
        stores = preparation.stores(sources)
        end_id = getattr(preparation.tokenizer, "eos_token_id", None)

        def rows(split: str, weights: list[float] | None) -> BlockDiffusionRows:
            return BlockDiffusionRows(
                stores,
                self.block_sizes,
                end_id,
                self.least_mask_rate,
                preparation.config.max_seq_length,
                preparation.seed,
                split,
                weights,
                preparation.config.whole_documents,
            )

        return preparation.split_rows(sources, stores, rows)

    def describe_outputs(self) -> dict[str, Any]:
        return describe_diffusion(self.mask_id, self.block_sizes)

    def get_config(self) -> dict[str, Any]:
        return {
            "block_sizes": list(self.block_sizes),
            "mask_id": self.mask_id,
            "least_mask_rate": self.least_mask_rate,
        }

    def _mask_id_of(self, model: keras.Model) -> int:
        if not getattr(model, "takes_blocks", False):
            config = getattr(model, "config", None)
            described = f"block_pattern={config.block_pattern!r}" if config else type(model).__name__
            raise ConfigError(
                "block diffusion needs a HighNoon model with attention as every mixer and rotary positions; "
                f"received {described}; use attention, sliding_attention or latent_attention"
            )
        mask_id = find_mask_id(self.mask_id, model.tokenizer)
        if mask_id >= model.vocab_size:
            raise ConfigError(
                f"`mask_id` must be below vocab_size={model.vocab_size}; received {mask_id}; create the "
                f"model with vocab_size={mask_id + 1}"
            )
        return mask_id
