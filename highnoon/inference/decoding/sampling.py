"""Sampling: how the next token is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from highnoon.files.shown import shown
from highnoon.inference.decoding.logits import (
    divide_by_temperature,
    draw,
    keep_top_p,
    normal_float32,
    top_k_candidates,
)
from highnoon.inference.logits_processors.logits_processor import LogitsProcessor
from highnoon.inference.logits_processors.processor_chain import ProcessorChain
from highnoon.inference.logits_processors.repetition_penalty import RepetitionPenalty
from highnoon.inference.require_number import refusal, require_number, require_whole


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The choice of the next token: penalty, logits processors, temperature, top-k, top-p, in this order.

    Args:
        temperature: Divides the logits; 0 takes the most likely token. Not negative.
        top_k: Draws from this many most likely tokens; 0 or None from all.
        top_p: Draws from the fewest most likely tokens with this mass, in (0, 1].
        repetition_penalty: Above 1 makes tokens of the prompt and of what was generated less
            likely; 1 changes nothing. Above 0.
        logits_processors: Further changes of the logits, applied in this order.

    Raises:
        ValueError: an argument out of its range.
        TypeError: `logits_processors` holds anything else.
    """

    temperature: float = 1.0
    top_k: int | None = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    logits_processors: Sequence[LogitsProcessor] = ()

    def __post_init__(self) -> None:
        for name, (expected, is_right) in _RANGES.items():
            value = getattr(self, name)
            if name == "top_k" and value is None:
                continue
            if not is_right(require_number(name, expected, value)):
                raise refusal(name, expected, value)
        object.__setattr__(self, "logits_processors", _processors(self.logits_processors))

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1

    @property
    def processors(self) -> ProcessorChain:
        """All changes of the logits before the temperature."""
        penalty = [] if self.repetition_penalty == 1.0 else [RepetitionPenalty(self.repetition_penalty)]
        return ProcessorChain([*penalty, *self.logits_processors])

    def form(self, num_ids: int) -> SamplingForm:
        """Returns what a compiled function depends on; it receives all other numbers as tensors.

        Args:
            num_ids: Ids that may be drawn, from 0.
        """
        if self.is_greedy:
            return SamplingForm(num_ids, self.processors, is_greedy=True, top_k=0, uses_top_p=False)
        uses_top_p = self.top_p < 1.0
        return SamplingForm(
            num_ids, self.processors, is_greedy=False, top_k=int(self.top_k or 0), uses_top_p=uses_top_p
        )

    def values(self, num_ids: int) -> SamplingValues:
        """Returns the numbers that a compiled function receives at run time."""
        return SamplingValues(
            # Greedy choice reads no temperature; 1 keeps the division defined.
            temperature=normal_float32(self.temperature or 1.0),
            top_p=normal_float32(self.top_p),
            processors=self.processors.values(num_ids),
        )


class SamplingValues(NamedTuple):
    """The numbers of a `Sampling`: scalars `temperature` and `top_p`, and the processors' values."""

    temperature: Any
    top_p: Any
    processors: Any


@dataclasses.dataclass(frozen=True)
class SamplingForm:
    """The part of a `Sampling` that decides which operations run.

    `state` in its methods is the state of the processors, with one row for each row of the logits.
    """

    num_ids: int
    processors: ProcessorChain
    is_greedy: bool
    top_k: int
    uses_top_p: bool

    def next_tokens(self, logits: Any, uniforms: Any, state: Any, values: SamplingValues) -> Any:
        """Chooses the next token of each row.

        Args:
            logits: (b, v); those from `num_ids` on are left out.
            uniforms: (b,) in [0, 1).
            state: The state of the processors.
            values: `Sampling.values` as tensors.

        Returns:
            (b,) int32; -1 where the logits are NaN or all -inf, so that no token can be chosen.
        """
        logits = self._processed(logits, state, values)
        if self.is_greedy:
            is_possible = ops.max(logits, axis=-1) > float("-inf")
            return ops.where(is_possible, ops.cast(ops.argmax(logits, axis=-1), "int32"), -1)
        if not self._drops_tokens:
            return draw(divide_by_temperature(logits, values.temperature), uniforms)
        candidates, ids = self._candidates(logits, values)
        chosen = draw(candidates, uniforms)
        drawn = ops.take_along_axis(ids, ops.maximum(chosen, 0)[:, None], axis=-1)[:, 0]
        return ops.where(chosen < 0, -1, drawn)

    def probabilities(self, logits: Any, state: Any, values: SamplingValues) -> Any:
        """Returns the distribution that `next_tokens` draws from, (b, num_ids).

        A greedy choice is a distribution too: all of its mass is on the most likely token.
        """
        logits = self._processed(logits, state, values)
        if self.is_greedy:
            is_possible = ops.max(logits, axis=-1, keepdims=True) > float("-inf")
            certain = ops.one_hot(ops.argmax(logits, axis=-1), self.num_ids, dtype="float32")
            return ops.where(is_possible, certain, float("nan"))
        if not self._drops_tokens:
            return ops.softmax(divide_by_temperature(logits, values.temperature), axis=-1)
        candidates, ids = self._candidates(logits, values)
        rows = ops.broadcast_to(ops.arange(ids.shape[0], dtype="int32")[:, None], ids.shape)
        indices = ops.reshape(ops.stack([rows, ids], axis=-1), (-1, 2))
        probabilities = ops.reshape(ops.softmax(candidates, axis=-1), (-1,))
        return ops.scatter(indices, probabilities, (ids.shape[0], self.num_ids))

    def advance(self, state: Any, token_ids: Any, values: SamplingValues) -> Any:
        """Returns the processors' state after one more token (b,) of each row."""
        return self.processors.advance(state, token_ids, values.processors)

    @property
    def _drops_tokens(self) -> bool:
        return bool(self.top_k) or self.uses_top_p

    def _processed(self, logits: Any, state: Any, values: SamplingValues) -> Any:
        logits = ops.cast(logits[:, : self.num_ids], "float32")
        return self.processors.apply(logits, state, values.processors)

    def _candidates(self, logits: Any, values: SamplingValues) -> tuple[Any, Any]:
        """The logits that may be drawn from, largest first, -inf outside the nucleus, and their ids."""
        logits = divide_by_temperature(logits, values.temperature)
        candidates, ids = top_k_candidates(logits, self.top_k or self.num_ids)
        return (keep_top_p(candidates, values.top_p) if self.uses_top_p else candidates), ids


def uniforms_for(seed: int, rows: Sequence[int], length: int) -> np.ndarray:
    """Returns (rows, length) float32 in [0, 1), the random numbers of these rows.

    The numbers of a row depend on the seed and the row's index alone, and a longer `length` only adds
    to them, so neither the other rows nor the space reserved for tokens change what is drawn.
    """
    return np.stack([np.random.default_rng([seed, row]).random(length, np.float32) for row in rows])


def resolve_seed(seed: int | None) -> int:
    """Returns `seed`, or one from NumPy's global generator, which `keras.utils.set_random_seed` sets.

    Raises:
        ValueError: the seed is negative or not an integer.
    """
    return int(np.random.randint(2**31)) if seed is None else require_whole("seed", seed, at_least=0)


def _processors(given: Any) -> tuple[LogitsProcessor, ...]:
    processors = tuple(given) if isinstance(given, Sequence) else (given,)
    for processor in processors:
        if not isinstance(processor, LogitsProcessor):
            raise TypeError(
                "`logits_processors` must be a list of `highnoon.inference.LogitsProcessor`; "
                f"received {shown(given)}"
            )
    return processors


_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "temperature": ("a number of at least 0", lambda value: value >= 0),
    "top_k": (
        "an integer of at least 1, or 0 or None for all tokens",
        lambda value: value >= 0 and value == int(value),
    ),
    "top_p": ("in (0, 1]", lambda value: 0 < value <= 1),
    "repetition_penalty": ("a number above 0", lambda value: value > 0),
}
