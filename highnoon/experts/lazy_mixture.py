"""Decoding with a mixture that runs the chosen experts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from highnoon.config import ConfigError, require_count, shown
from highnoon.experts.generates import Generates
from highnoon.experts.kept_experts import UNUSED, is_used
from highnoon.experts.mixture import MixtureOfModels
from highnoon.inference.decoding.cache_layout import differing_shapes
from highnoon.inference.decoding.compiled_loop import run_while
from highnoon.models.backbone import read_inputs

PIECES = (32, 4, 1)
"""Lengths of the pieces in which an expert reads the tokens that it missed: few shapes to compile."""

_LENGTH = 32


class LazyMixture(Generates):
    """A mixture with `top_k` whose experts run for the tokens that use them, with the protocol of decoding.

    ```
    used[k] = the router keeps expert k for one of the new tokens, in any row
    if used[k]:   expert k reads the tokens that it missed, then the new ones;     else: nothing of it runs
    ```

    An expert's cache depends on the tokens alone, so one that catches up has the cache of one that read
    every token as it came, and the text is that of the mixture itself, greedy and with a seed, except for
    rounding where two logits are equal to the last bits. Missed tokens are read in pieces, several at once,
    which costs less than one by one. The choice is made in the compiled loop of decoding.

    One row gains most: of many rows an expert runs if any of them uses it. Reading a prompt gains little, as
    an expert runs if any of its tokens uses it.

    `generate` and the other functions of `highnoon.inference` take it in place of the mixture.

    Args:
        mixture: A mixture with a `top_k` below its number of experts.
        piece_lengths: Tokens that an expert reads at once while it catches up, decreasing, the last one 1.
            Each is compiled for each expert.

    Raises:
        ConfigError: another model, a mixture that uses every expert for each token, or other pieces.

    Example:

    ```python
    import highnoon as hn
    from highnoon.experts import LazyMixture, MixtureOfModels
    from highnoon.inference import generate

    shape = {"vocab_size": 50, "embedding_dim": 16, "num_reasoning_blocks": 1}
    experts = [hn.LanguageModel(block_pattern="attention+mlp", **shape) for _ in range(2)]
    mixture = MixtureOfModels(experts, top_k=1, embedding_dim=16)
    lazy = LazyMixture(mixture, piece_lengths=(4, 1))
    ids = generate(lazy, [2, 7, 9], max_length=8, temperature=0)
    assert ids == mixture.generate([2, 7, 9], max_length=8, temperature=0)
    ```
    """

    def __init__(self, mixture: MixtureOfModels, piece_lengths: Sequence[int] = PIECES) -> None:
        if not isinstance(mixture, MixtureOfModels):
            raise ConfigError(f"`mixture` must be a MixtureOfModels; received {shown(mixture)}")
        num_experts = len(mixture.experts)
        if mixture.top_k is None or mixture.top_k >= num_experts:
            raise ConfigError(
                f"`mixture` must have a `top_k` below its {num_experts} experts, or all of them run for each "
                f"token; received top_k={mixture.top_k}; set mixture.top_k"
            )
        self.mixture, self.piece_lengths = mixture, require_piece_lengths(piece_lengths)
        # Where a cache rolls back by its index, so must what is known of it.
        self._rolls_back = tuple(
            all(keras.tree.flatten(differing_shapes(_Expert(mixture, number), _LENGTH)))
            for number in range(num_experts)
        )

    @property
    def vocab_size(self) -> int:
        return self.mixture.vocab_size

    @property
    def max_seq_length(self) -> int:
        return self.mixture.max_seq_length

    @property
    def tokenizer(self) -> Any:
        return self.mixture.tokenizer

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables that compiled functions read at every call."""
        return self.mixture.variables

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns the mixture's empty decoding state, with the tokens and what each expert has read."""
        caches = self.mixture.initial_cache(batch_size, max_length, dtype)
        cache = {"router": caches["router"], "token_ids": ops.zeros((batch_size, max_length), "int32")}
        for number, rolls_back in enumerate(self._rolls_back):
            read = (
                {"is_read": ops.zeros((batch_size, max_length), "bool")}
                if rolls_back
                else {"num_read": ops.zeros((batch_size,), "int32")}
            )
            cache[_name(number)] = {"cache": caches[_name(number)], **read}
        return cache

    def decode(
        self,
        token_ids: Any,
        cache: Mapping[str, Any],
        index: Any,
        padding: Any = None,
        *,
        last_only: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Reads new tokens into the caches of the experts that they use; arguments and results are those of
        `MixtureOfModels.decode`."""
        first = token_ids.shape[1] - 1 if last_only else 0
        return self.state_step(token_ids, cache, index, padding, first)[1:]

    def state_step(
        self, token_ids: Any, cache: Mapping[str, Any], index: Any, padding: Any, first: int
    ) -> tuple[Any, Any, dict[str, Any]]:
        """As `MixtureOfModels.state_step`."""
        token_ids, index = read_inputs(token_ids)[0], ops.cast(index, "int32")
        states, log_weights, of_router = self.mixture.router.state_step(
            token_ids, cache["router"], index, padding
        )
        log_weights = self.mixture.kept(log_weights)
        known = ops.slice_update(cache["token_ids"], (0, index), token_ids)
        new = _New(token_ids, known, index, padding, first)
        used, log_weights = new.used(log_weights), log_weights[:, new.first :]
        mixed = ops.full((*log_weights.shape[:2], self.vocab_size), UNUSED, "float32")
        new_cache = {"router": of_router, "token_ids": known}
        for number in range(len(self._rolls_back)):
            mixed, new_cache[_name(number)] = self._with_expert(
                number, used[number], mixed, log_weights[..., number, None], cache[_name(number)], new
            )
        return ops.cast(states, "float32"), mixed, new_cache

    def _with_expert(
        self, number: int, is_used: Any, mixed: Any, log_weights: Any, cache: Any, new: _New
    ) -> tuple[Any, Any]:
        """Adds an expert to the mixed log-probabilities (b, t, v), and returns these and its cache."""
        expert, num_read = _Expert(self.mixture, number), _num_read(cache, new.index)

        def run() -> tuple[Any, Any]:
            caught_up = self._caught_up(expert, cache["cache"], num_read, new)
            logits, after = expert.decode(new.token_ids, caught_up, new.index, new.padding)
            logits = ops.cast(logits[:, new.first :], "float32")
            added = ops.logaddexp(mixed, log_weights + ops.log_softmax(logits, axis=-1))
            return added, _with_num_read(cache, after, new.index + new.token_ids.shape[1])

        def skip() -> tuple[Any, Any]:
            return mixed, _with_num_read(cache, cache["cache"], num_read)

        return ops.cond(is_used, run, skip)

    def _caught_up(self, expert: _Expert, cache: Any, num_read: Any, new: _New) -> Any:
        """The expert's cache with the tokens before the new ones, read in few pieces."""
        now = _CatchingUp(num_read, cache)
        for length in self.piece_lengths:

            def is_left(now: _CatchingUp, length: int = length) -> Any:
                return now.num_read + length <= new.index

            def read(now: _CatchingUp, length: int = length) -> _CatchingUp:
                ids = ops.slice(new.known, [0, now.num_read], [new.known.shape[0], length])
                _, cache = expert.decode(ids, now.cache, now.num_read, new.padding)
                return _CatchingUp(now.num_read + length, cache)

            now = run_while(is_left, read, now)
        return now.cache


class _Expert:
    """An expert of a mixture with the interface of a model."""

    def __init__(self, mixture: MixtureOfModels, number: int) -> None:
        self._kind, self._model = mixture.kinds[number], mixture.experts[number]

    def initial_cache(self, batch_size: int, max_length: int) -> Any:
        return self._kind.initial_cache(self._model, batch_size, max_length)

    def decode(self, token_ids: Any, cache: Any, index: Any, padding: Any) -> tuple[Any, Any]:
        return self._kind.decode(self._model, token_ids, cache, index, padding)


def require_piece_lengths(piece_lengths: Any) -> tuple[int, ...]:
    """Returns the lengths of pieces that decrease and end in 1.

    Raises:
        ConfigError: they do not.
    """
    given = piece_lengths if isinstance(piece_lengths, (list, tuple)) else ()
    lengths = tuple(require_count("piece_lengths", length) for length in given)
    if not lengths or lengths[-1] != 1 or sorted(set(lengths), reverse=True) != list(lengths):
        raise ConfigError(
            f"`piece_lengths` must decrease and end in 1, such as {PIECES}; received {shown(piece_lengths)}"
        )
    return lengths


class _CatchingUp(NamedTuple):
    """The tokens that an expert has read, a scalar, and its cache."""

    num_read: Any
    cache: Any


class _New(NamedTuple):
    """The new tokens of a step.

    Args:
        token_ids: (b, t).
        known: (b, c) all tokens by slot.
        index: Slot of the first new token, a scalar.
        padding: (b,) or None.
        first: The first of the new tokens whose distribution is needed.
    """

    token_ids: Any
    known: Any
    index: Any
    padding: Any
    first: int

    def used(self, log_weights: Any) -> Any:
        """(e,) whether any new token that is not padding uses an expert."""
        used = is_used(log_weights)
        if self.padding is not None:
            slots = self.index + ops.arange(self.token_ids.shape[1], dtype="int32")
            is_token = slots[None] >= ops.cast(self.padding, "int32")[:, None]
            used = ops.logical_and(used, is_token[:, :, None])
        return ops.any(used, axis=(0, 1))


def _name(number: int) -> str:
    return f"expert_{number}"


def _num_read(cache: Mapping[str, Any], index: Any) -> Any:
    """How many slots an expert has read that are still those of the text."""
    if "is_read" in cache:
        slots = ops.arange(cache["is_read"].shape[1], dtype="int32")
        return ops.sum(ops.cast(ops.logical_and(cache["is_read"][0], slots < index), "int32"))
    return ops.minimum(cache["num_read"][0], index)


def _with_num_read(cache: Mapping[str, Any], after: Any, num_read: Any) -> dict[str, Any]:
    """An expert's cache after it has read `num_read` slots, a scalar."""
    if "is_read" in cache:
        shape = cache["is_read"].shape
        is_read = ops.broadcast_to(ops.arange(shape[1], dtype="int32")[None] < num_read, shape)
        return {"cache": after, "is_read": is_read}
    return {"cache": after, "num_read": ops.broadcast_to(num_read, cache["num_read"].shape)}
