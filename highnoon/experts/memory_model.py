"""A language model with a memory: it generates, and is evaluated and saved, as one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.config import ConfigError
from highnoon.experts.frozen_experts import as_inputs
from highnoon.experts.generates import Generates
from highnoon.experts.memory_mix import MemoryMix
from highnoon.experts.memory_probs import earlier_probs, neighbor_probs
from highnoon.experts.memory_stores import DOCUMENT_NUMBERS
from highnoon.experts.model_states import state_model, state_step, state_width, states_and_log_probs
from highnoon.experts.vector_memory import VectorMemory
from highnoon.models.backbone import read_inputs

_SMALLEST = 1e-37


class MemoryModel(Generates, keras.Model):
    """A model whose next-token distribution is mixed with that of a memory.

    Its logits are log-probabilities. `generate` and the other functions of `highnoon.inference` take it in
    place of the model, `evaluate_model` gives its loss, and `save_model` writes the model and its memory as
    one folder. The model may be a `MixtureOfModels` or a `LazyMixture`, whose states are those of the
    router's trunk.

    The memory is copied to the device and compared with every state, exactly, in the compiled loop:
    `4 * width + 12` bytes for each of its tokens, and as many products a new token. Nothing is ever added to
    it. With `mix.cache_weight` the cache of decoding also holds the states of the earlier tokens.

    A document does not find itself: a batch for `loss_terms` must have `document_numbers`, see
    `VectorMemory.rows`. To a prompt all documents but `document` are open.

    Args:
        model: The model whose states the memory holds.
        memory: The memory; later changes of it have no effect here.
        mix: The weights; None takes the defaults.
        document: Number of a document of the memory that must not be found, because the prompt is from it.
        name: The model's name.

    Raises:
        VectorIndexError: another model.
        ConfigError: the memory has no token that may be found.

    Example:

    ```python
    import pathlib
    import highnoon as hn
    from highnoon.data import Files, tokenize
    from highnoon.experts.memory_mix import MemoryMix
    from highnoon.experts.memory_model import MemoryModel
    from highnoon.experts.vector_memory import VectorMemory
    from highnoon.inference import generate
    from highnoon.tokenization import ByteTokenizer

    pathlib.Path("a.txt").write_text("To be, or not to be")
    store = tokenize(Files("a.txt"), ByteTokenizer(), "cache", validation_split=0.0)
    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1, vocab_size=store.tokenizer.vocab_size)
    memory = VectorMemory.build(model, store, "memory", row_length=32)
    with_memory = MemoryModel(model, memory, MemoryMix(weight=0.99, temperature=0.001))
    text = generate(with_memory, "To be", 14, temperature=0, tokenizer=ByteTokenizer())
    assert text == "To be, or not to be"
    ```
    """

    family_name = "memory_model"
    loss_columns = (DOCUMENT_NUMBERS,)

    def __init__(
        self,
        model: Any,
        memory: VectorMemory,
        mix: MemoryMix | None = None,
        document: int = 0,
        *,
        name: str | None = None,
    ) -> None:
        memory.reader(model)
        memory.require_model(model)
        is_found = np.flatnonzero(memory.index.groups != document)
        if not len(is_found):
            raise ConfigError(
                "the memory must hold a token that may be found; received an empty one: build it"
            )
        self._init(model, mix, len(is_found), name)
        keys = memory.index.vectors()[is_found]
        self.keys.assign(keys)
        self.key_squares.assign(np.square(keys, dtype=np.float64).sum(axis=1))
        self.key_values.assign(memory.values(memory.index.ids[is_found]))
        self.key_documents.assign(memory.index.groups[is_found])

    @classmethod
    def with_empty_memory(cls, model: Any, mix: MemoryMix | None, num_keys: int) -> MemoryModel:
        """Returns a model whose memory of `num_keys` tokens is still to be loaded."""
        made = cls.__new__(cls)
        made._init(model, mix, num_keys, None)
        return made

    def _init(self, model: Any, mix: MemoryMix | None, num_keys: int, name: str | None) -> None:
        super().__init__(name=name)
        self.model = model
        self.frozen = state_model(model)  # tracked where `model` is no keras.Model itself
        self.mix = MemoryMix() if mix is None else mix
        fields = {"initializer": "zeros", "trainable": False}
        width = state_width(model)
        self.keys = self.add_weight(shape=(num_keys, width), dtype="float32", name="memory_keys", **fields)
        self.key_squares = self.add_weight(
            shape=(num_keys,), dtype="float32", name="memory_squares", **fields
        )
        self.key_values = self.add_weight(shape=(num_keys,), dtype="int32", name="memory_values", **fields)
        self.key_documents = self.add_weight(
            shape=(num_keys,), dtype="int32", name="memory_documents", **fields
        )
        self.built = True

    @property
    def vocab_size(self) -> int:
        return self.model.vocab_size

    @property
    def max_seq_length(self) -> int:
        return self.model.max_seq_length

    @property
    def is_causal(self) -> bool:
        """Whether no logit depends on a later token."""
        return self.frozen.is_causal

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self.frozen.tokenizer = tokenizer

    @property
    def saved_weights(self) -> list[keras.Variable]:
        """The weights that a saved model holds: those of the model that it saves, and the memory."""
        of_model = getattr(self.frozen, "saved_weights", self.frozen.weights)
        return [*of_model, self.keys, self.key_squares, self.key_values, self.key_documents]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        numbers = inputs.get(DOCUMENT_NUMBERS) if isinstance(inputs, Mapping) else None
        inputs = as_inputs(inputs)
        token_ids, segment_ids, _ = read_inputs(inputs)
        states, log_probs = states_and_log_probs(self.frozen, inputs, bool(training))
        others_probs = [self._memory_probs(states, numbers)]
        if self.mix.cache_weight:
            segment_ids = ops.ones_like(token_ids) if segment_ids is None else segment_ids
            is_same = ops.equal(segment_ids[:, :, None], segment_ids[:, None])
            time = ops.arange(token_ids.shape[1])
            is_earlier = ops.logical_and(is_same, (time[None, :] < time[:, None])[None])
            others_probs.append(self._earlier_probs(states, states, token_ids, is_earlier))
        return self._mixed(log_probs, *others_probs)

    def loss_terms(
        self, batch: Mapping[str, Any], training: bool = True, token_losses: bool = False
    ) -> dict[str, Any]:
        """Returns the sums that a step needs, as `LanguageModel.loss_terms`.

        Raises:
            ConfigError: a batch without `document_numbers`, so that a document could find itself.
        """
        if DOCUMENT_NUMBERS not in batch:
            raise ConfigError(
                f"a batch must hold `{DOCUMENT_NUMBERS}`, so that no document finds itself; received "
                f"{', '.join(batch)}: read rows from `memory.rows`, or give zeros for text in no store"
            )
        log_probs = self(dict(batch), training=training)
        labels = ops.cast(batch["labels"], "int32")[:, :, None]
        losses = -ops.take_along_axis(log_probs, labels, axis=-1)[:, :, 0]
        terms = {
            "loss_sum": ops.sum(losses * batch["loss_weights"]),
            "aux_loss": ops.zeros((), "float32"),
            "metrics": {},
        }
        return {**terms, "token_losses": ops.stop_gradient(losses)} if token_losses else terms

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns the model's empty decoding state, with room for states and tokens if these are used."""
        cache = {"model": self.model.initial_cache(batch_size, max_length, dtype)}
        if self.mix.cache_weight:
            cache["states"] = ops.zeros((batch_size, max_length, self.keys.shape[1]), "float32")
            cache["token_ids"] = ops.zeros((batch_size, max_length), "int32")
        return cache

    def decode(
        self, token_ids: Any, cache: Any, index: Any, padding: Any = None, *, last_only: bool = False
    ) -> tuple[Any, Any]:
        """Reads new tokens into the cache; arguments and results are those of `LanguageModel.decode`."""
        token_ids = ops.cast(token_ids, "int32")
        first = token_ids.shape[1] - 1 if last_only else 0
        states, log_probs, of_model = state_step(self.model, token_ids, cache["model"], index, padding, first)
        new_cache, asked = {"model": of_model}, states[:, first:]
        others = [self._memory_probs(asked)]
        if self.mix.cache_weight:
            new_cache["states"] = ops.slice_update(cache["states"], [0, index, 0], states)
            new_cache["token_ids"] = ops.slice_update(cache["token_ids"], [0, index], token_ids)
            slots = ops.cast(index, "int32") + ops.arange(first, token_ids.shape[1], dtype="int32")
            slot = ops.arange(new_cache["token_ids"].shape[1], dtype="int32")[None, None]
            is_earlier = slot < slots[None, :, None]
            if padding is not None:
                is_earlier = ops.logical_and(is_earlier, slot >= ops.cast(padding, "int32")[:, None, None])
            others.append(self._earlier_probs(asked, new_cache["states"], new_cache["token_ids"], is_earlier))
        return self._mixed(log_probs, *others), new_cache

    def _memory_probs(self, states: Any, numbers: Any = None) -> tuple[Any, Any]:
        """The weighted distribution of the memory (b, t, v), and its weight (b, t, 1)."""
        is_hidden = None
        if numbers is not None:
            own = ops.reshape(ops.cast(numbers, "int32"), (-1, 1))
            is_hidden = ops.logical_and(own > 0, own == self.key_documents.value[None])
        probs, has_neighbor = neighbor_probs(
            states,
            self.keys.value,
            self.key_squares.value,
            self.key_values.value,
            self.mix.num_neighbors,
            self.mix.temperature,
            self.vocab_size,
            is_hidden,
        )
        return self.mix.weight * probs, self.mix.weight * ops.cast(has_neighbor, "float32")

    def _earlier_probs(self, states: Any, earlier: Any, token_ids: Any, is_earlier: Any) -> tuple[Any, Any]:
        """As `_memory_probs`, of the document's earlier tokens."""
        probs, has_any = earlier_probs(
            states, earlier, token_ids, is_earlier, self.mix.temperature, self.vocab_size
        )
        return self.mix.cache_weight * probs, self.mix.cache_weight * ops.cast(has_any, "float32")

    def _mixed(self, log_probs: Any, *others: tuple[Any, Any]) -> Any:
        probs, taken = (sum(parts) for parts in zip(*others, strict=True))
        return ops.logaddexp(log_probs + ops.log(1.0 - taken), ops.log(ops.maximum(probs, _SMALLEST)))
