"""A language model with a memory, for cached decoding."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.config import ConfigError
from highnoon.experts.memory_mix import MemoryMix
from highnoon.experts.vector_memory import VectorMemory

_SMALLEST = 1e-37


class MemoryModel:
    """A model whose next-token distribution is mixed with that of a memory, with the protocol of decoding.

    `generate` and the other functions of `highnoon.inference` take it in place of the model. Its logits are
    log probabilities. The memory is copied to the device and compared with every state, exactly, in the
    compiled loop: `4 * width + 8` bytes for each of its tokens, and as many products a new token. With
    `mix.cache_weight` the cache of decoding also holds the states of the earlier tokens.

    Args:
        model: The model whose states the memory holds.
        memory: The memory; later changes of it have no effect here.
        mix: The weights; None takes the defaults.
        document: Number of a document of the memory that must not be found, because the prompt is from it.

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

    def __init__(
        self, model: Any, memory: VectorMemory, mix: MemoryMix | None = None, document: int = 0
    ) -> None:
        memory.reader(model)
        memory.require_model(model)
        self.model = model
        self.mix = MemoryMix() if mix is None else mix
        is_found = np.flatnonzero(memory.index.groups != document)
        if not len(is_found):
            raise ConfigError(
                "the memory must hold a token that may be found; received an empty one: build it"
            )
        keys = memory.index.vectors()[is_found]
        self.keys = _fixed(keys, "float32")
        self.key_squares = _fixed(np.square(keys, dtype=np.float64).sum(axis=1), "float32")
        self.values = _fixed(memory.values(memory.index.ids[is_found]), "int32")

    @property
    def vocab_size(self) -> int:
        return self.model.vocab_size

    @property
    def max_seq_length(self) -> int:
        return self.model.max_seq_length

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    @property
    def variables(self) -> list[Any]:
        """The variables that compiled functions read at every call."""
        return [*self.model.variables, self.keys, self.key_squares, self.values]

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
        hidden, of_model = self.model.backbone.step(token_ids, cache["model"], index, padding)
        states, new_cache = ops.cast(hidden, "float32"), {"model": of_model}
        if self.mix.cache_weight:
            new_cache["states"] = ops.slice_update(cache["states"], [0, index, 0], states)
            new_cache["token_ids"] = ops.slice_update(cache["token_ids"], [0, index], token_ids)
        first = token_ids.shape[1] - 1 if last_only else 0
        hidden, states = hidden[:, first:], states[:, first:]
        log_probs = ops.log_softmax(self.model._logits(hidden), axis=-1)
        others, taken = self.mix.weight * self._memory_probs(states), self.mix.weight
        if self.mix.cache_weight:
            slots = ops.cast(index, "int32") + ops.arange(first, token_ids.shape[1], dtype="int32")
            probs, has_cache = self._cache_probs(states, new_cache, slots, padding)
            others = others + self.mix.cache_weight * probs
            taken = taken + self.mix.cache_weight * ops.cast(has_cache, "float32")
        others = ops.log(ops.maximum(others, _SMALLEST))
        return ops.logaddexp(log_probs + ops.log(1.0 - taken), others), new_cache

    def _memory_probs(self, states: Any) -> Any:
        """The distribution of the memory for states (b, t, d), (b, t, v)."""
        num_rows, num_tokens, width = states.shape
        flat = ops.reshape(states, (-1, width))
        # The square of a state is the same for all keys.
        scores = 2.0 * ops.matmul(flat, ops.transpose(self.keys.value)) - self.key_squares.value
        _, nearest = ops.top_k(scores, min(self.mix.num_neighbors, self.keys.shape[0]))
        keys = ops.take(self.keys.value, nearest, axis=0)
        distances = ops.mean(ops.square(flat[:, None] - keys), axis=-1)
        weights = ops.softmax(-distances / self.mix.temperature, axis=-1)
        probs = self._of_tokens(ops.take(self.values.value, nearest, axis=0), weights)
        return ops.reshape(probs, (num_rows, num_tokens, self.vocab_size))

    def _cache_probs(self, states: Any, cache: Any, slots: Any, padding: Any) -> tuple[Any, Any]:
        """The distribution of the tokens after earlier states, (b, t, v), and whether there are any."""
        earlier = cache["states"]
        num_rows, length, width = earlier.shape
        squares = ops.sum(ops.square(earlier), axis=-1)[:, None]
        products = ops.einsum("btd,bsd->bts", states, earlier)
        own = ops.sum(ops.square(states), axis=-1)[:, :, None]
        distances = ops.maximum(own + squares - 2.0 * products, 0.0) / width
        slot = ops.arange(length, dtype="int32")[None, None]
        is_earlier = ops.broadcast_to(slot < slots[None, :, None], distances.shape)
        if padding is not None:
            is_earlier = ops.logical_and(is_earlier, slot >= ops.cast(padding, "int32")[:, None, None])
        scores = ops.where(is_earlier, -distances / self.mix.temperature, -1e30)
        weights = ops.where(is_earlier, ops.softmax(scores, axis=-1), 0.0)
        following = ops.roll(cache["token_ids"], -1, axis=1)[:, None]
        following = ops.reshape(ops.broadcast_to(following, distances.shape), (-1, length))
        probs = self._of_tokens(following, ops.reshape(weights, (-1, length)))
        probs = ops.reshape(probs, (num_rows, states.shape[1], self.vocab_size))
        return probs, ops.any(is_earlier, axis=-1, keepdims=True)

    def _of_tokens(self, token_ids: Any, weights: Any) -> Any:
        """Adds the weights (n, k) of tokens (n, k) to (n, v)."""
        num_states, num_weights = token_ids.shape
        rows = ops.repeat(ops.arange(num_states, dtype="int32"), num_weights)
        positions = ops.stack((rows, ops.reshape(token_ids, (-1,))), axis=-1)
        return ops.scatter(positions, ops.reshape(weights, (-1,)), (num_states, self.vocab_size))


def _fixed(array: Any, dtype: str) -> keras.Variable:
    return keras.Variable(np.asarray(array, dtype), dtype=dtype, trainable=False)
