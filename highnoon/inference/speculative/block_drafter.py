"""Drafts by block diffusion: all tokens of a window in one pass."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from highnoon.files.shown import shown
from highnoon.inference.block_diffusion.next_token_model import NextTokenModel, without_mask
from highnoon.inference.decoding.logits import draw
from highnoon.inference.speculative.drafters import Drafter
from highnoon.inference.speculative.drafts import Drafts, has_draft
from highnoon.inference.speculative.window import Window
from highnoon.layers.attention.block_mask import BlockStep


class BlockDrafter(Drafter):
    """Drafts all open slots of a window in one pass of a model of block diffusion.

    ```
    q[j] = softmax of the logits of a mask at slot j that sees the known tokens and the other masks
    ```

    The window is one noisy block after the stored tokens: its known tokens are revealed and the others are
    masks. Each draft is drawn from its own q, independent of the others, and q is what the check compares
    with. A second pass stores the window's tokens, so a window costs two passes of the draft model, whatever
    its length.

    Arriola et al. 2025, Block Diffusion (arXiv:2503.09573); as a drafter Christopher et al. 2024,
    "Speculative diffusion decoding" (arXiv:2408.05636).
    """

    name: ClassVar[str] = "block"
    lowest_speed: ClassVar[float | None] = 0.95

    def require_model(self, model: Any) -> None:
        super().require_model(model)
        if not isinstance(model, NextTokenModel):
            raise ValueError(
                "the drafter 'block' needs a `draft_model` that was trained with objective="
                f"'block_diffusion'; received {shown(model)}; leave `drafter` out for another model"
            )

    def draft(self, model: Any, window: Window) -> tuple[Drafts, Any]:
        cache, index, inputs = window.now.caches["draft"], window.now.index, window.inputs
        sampling, blocks = window.form.sampling, BlockStep(window.width, is_noisy=True, begins_here=True)
        noisy = ops.where(window.is_known, window.known_ids, model.mask_id)
        logits, _ = model.model.decode(noisy, cache, index, inputs.padding, blocks=blocks)
        # A mask predicts its own slot; a position decides on the slot after it.
        logits = without_mask(ops.roll(logits, -1, axis=1), model.mask_id)
        # The logits processors see the known tokens alone: any q is right if it is what was drawn from.
        processors = keras.tree.map_structure(
            lambda leaf: ops.repeat(leaf, window.width, axis=0), window.now.processors
        )
        probabilities = sampling.probabilities(window.flat(logits), processors, inputs.sampling)
        drawn = draw(ops.log(probabilities), window.flat(window.random("draft_uniforms")))
        ids = ops.where(window.is_known, window.known_ids, ops.roll(window.unflat(drawn), 1, axis=1))
        _, cache = model.model.decode(ids, cache, index, inputs.padding)
        return Drafts(ids, has_draft(window), window.unflat(probabilities)), cache
