"""A language model with a value function on its hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import ops


class PolicyWithValues(keras.Model):
    """A language model and a linear value head on its last hidden states.

        value[t] = w . hidden[t] + b

    the value of the state in which the token after position t is chosen. The head starts at zero, so that the
    first advantages are plain returns. The model itself is shared and not copied: training changes it.

    Args:
        policy: A built `LanguageModel`.

    Call arguments: as of the policy. Returns its logits (b, t, v).

    Example:

    ```python
    import highnoon as hn
    from highnoon.alignment import PolicyWithValues

    policy = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    model = PolicyWithValues(policy)
    assert len(model.trainable_variables) == len(policy.trainable_variables) + 2
    ```

    Ziegler et al. 2019, "Fine-Tuning Language Models from Human Preferences" (arXiv:1909.08593), section 2.1,
    with one trunk for both.
    """

    family_name = "policy_with_values"
    separates_segments = True

    def __init__(self, policy: keras.Model) -> None:
        super().__init__(name="policy_with_values")
        self.policy = policy
        self.value_head = keras.layers.Dense(
            1, kernel_initializer="zeros", dtype="float32", name="value_head"
        )
        self.value_head.build((None, None, policy.embedding_dim))
        self.built = True

    @property
    def tokenizer(self) -> Any:
        """That of the policy; it is saved with the model."""
        return self.policy.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self.policy.tokenizer = tokenizer

    @property
    def vocab_size(self) -> int:
        return self.policy.vocab_size

    @property
    def max_seq_length(self) -> int:
        return self.policy.max_seq_length

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.policy(inputs, training=training)

    def logits_and_values(self, batch: Mapping[str, Any], training: bool) -> tuple[Any, Any, Any]:
        """Returns logits (b, t, v), values (b, t), both float32, and the losses that layers reported.

        Args:
            batch: `token_ids`, `segment_ids` and `positions` (b, t).
            training: Whether dropout and the capacity of experts act.
        """
        inputs = {name: batch[name] for name in ("token_ids", "segment_ids", "positions")}
        hidden, aux_loss, _ = self.policy.backbone(inputs, training=training, return_aux=True)
        values = self.value_head(ops.cast(hidden, "float32"))[:, :, 0]
        return self.policy._logits(hidden), values, aux_loss

    def compiled_parts(self) -> AbstractContextManager[None]:
        """As of the policy."""
        return self.policy.compiled_parts()
