"""A model of block diffusion as one that predicts the next token: blocks of one token, exactly."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from highnoon.inference.block_diffusion.diffusion_outputs import mask_id_of
from highnoon.layers.attention.block_mask import BlockStep

_ATTRIBUTE = "_highnoon_next_token_model"
_IMPOSSIBLE = -1e30


def next_token_model(model: Any) -> NextTokenModel:
    """Returns the `NextTokenModel` of a model, the same one as long as the mask is the same."""
    known = vars(model).get(_ATTRIBUTE)
    if known is None or known.mask_id != mask_id_of(model):
        known = NextTokenModel(model)
        # Found again at the next call, and freed with the model; Keras does not track it.
        object.__setattr__(model, _ATTRIBUTE, known)
    return known


class NextTokenModel:
    """A model of block diffusion with the interface of one that predicts the next token.

    ```
    p(x[i] | x[: i]) = softmax of the logits of a mask at position i that sees x[: i] and itself
    ```

    A step reads the new tokens into the cache, and then a mask after each, which is not stored. The mask has
    no probability. So generation, log-probabilities and speculation work as with any model.

    Args:
        model: A `LanguageModel` that was trained with `objective="block_diffusion"`.

    Raises:
        ConfigError: the model is none of block diffusion.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.mask_id = mask_id_of(model)
        self.vocab_size: int = model.vocab_size
        self.max_seq_length: int = model.max_seq_length

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.model.tokenizer

    @property
    def variables(self) -> list[keras.Variable]:
        """The model's variables, which compiled functions read at every call."""
        return self.model.variables

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns the model's own empty cache for `max_length` tokens."""
        return self.model.initial_cache(batch_size, max_length, dtype)

    def decode(
        self, token_ids: Any, cache: Any, index: Any, padding: Any = None, *, last_only: bool = False
    ) -> Any:
        """Returns the logits of the token after each new one, (b, t, v) or (b, 1, v), and the new cache."""
        _, cache = self.model.decode(token_ids, cache, index, padding)
        num_new = token_ids.shape[1]
        skipped = num_new - 1 if last_only else 0
        masks = ops.full_like(ops.cast(token_ids[:, skipped:], "int32"), self.mask_id)
        blocks = BlockStep(1, is_noisy=True)
        logits, _ = self.model.decode(masks, cache, index + 1 + skipped, padding, blocks=blocks)
        return without_mask(logits, self.mask_id), cache


def without_mask(logits: Any, mask_id: int) -> Any:
    """Returns logits (..., v) in which the mask has no probability."""
    return ops.where(ops.arange(logits.shape[-1]) == mask_id, _IMPOSSIBLE, logits)
