"""The compiled functions of a model: reading tokens into the cache, and the loop that draws."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from highnoon.inference.decoding.compiled_loop import run_while
from highnoon.inference.decoding.compiling import compile_for
from highnoon.inference.decoding.sampling import SamplingForm, SamplingValues
from highnoon.inference.model_structure import ModelStructure
from highnoon.inference.speculative.model_pair import ModelPair

PIECES = (512, 64, 16, 1)
"""Lengths of the pieces in which tokens are read into the cache: few shapes to compile, for any prompt."""

_DECODERS: weakref.WeakKeyDictionary[Any, Decoder] = weakref.WeakKeyDictionary()


class DrawingState(NamedTuple):
    """What changes while tokens are drawn.

    Args:
        step: Scalar, the tokens drawn so far.
        index: Scalar, the cache slot of the next token.
        last: (b,) the tokens to be read next.
        is_done: (b,) bool, the rows that have ended.
        counts: (b,) tokens drawn in each row.
        tokens: (b, n) the tokens drawn.
        processors: The state of the logits processors.
        cache: The model's cache.
    """

    step: Any
    index: Any
    last: Any
    is_done: Any
    counts: Any
    tokens: Any
    processors: Any
    cache: Any


class DrawingInputs(NamedTuple):
    """What stays the same while tokens are drawn.

    Args:
        end: Scalar, the step before which to stop.
        padding: (b,) empty slots at the front of each row.
        limits: (b,) tokens at most.
        stop_ids: (s,) a row ends after any of these.
        uniforms: (b, n) random numbers in [0, 1).
        sampling: The numbers of the sampling.
    """

    end: Any
    padding: Any
    limits: Any
    stop_ids: Any
    uniforms: Any
    sampling: SamplingValues


def decoder_for(model: Any) -> Decoder:
    """Returns the decoder of a model, the same one as long as the model keeps its structure.

    A model that received LoRA factors, was quantized, or has other layers or variables than before gets a
    new decoder. New values of the same variables need none.
    """
    decoder = _DECODERS.get(model)
    if decoder is None or not decoder.is_current:
        decoder = _DECODERS[model] = Decoder(model)
    return decoder


class Decoder:
    """The compiled functions of one model.

    Each function is compiled once for each shape of its arguments: the batch size and the
    cache's length for both, the piece's length for `read`, the form of the sampling for `draw`.

    Args:
        model: Anything with `initial_cache(batch_size, max_length)` and `decode(token_ids, cache,
            index, padding)`. `decode` takes (b, t) ids for the cache's slots `index` to
            `index + t`, of which a row's first `padding` ones are empty, and returns (b, t, v)
            logits and the cache.
    """

    def __init__(self, model: Any):
        self._model = weakref.ref(model)
        self._read = compile_for(model, _read, jit_compile=False)
        self._compiled: dict[Hashable, Callable[..., Any]] = {}
        self._structures = [ModelStructure(part) for part in _parts(model)]
        self.cache_layouts: dict[int, Any] = {}

    @property
    def is_current(self) -> bool:
        """Whether the model still has the structure that it was compiled with."""
        parts = _parts(self._model())
        return all(map(ModelStructure.matches, self._structures, parts))

    def read(self, token_ids: np.ndarray, cache: Any, index: int, padding: np.ndarray) -> Any:
        """Puts (b, t) tokens into the cache at slots `index` to `index + t` and returns it."""
        start = 0
        for piece in pieces_of(token_ids.shape[1]):
            ids = token_ids[:, start : start + piece]
            cache = self._read(ids, cache, np.asarray(index + start, np.int32), padding)
            start += piece
        return cache

    def draw(self, form: SamplingForm, state: DrawingState, inputs: DrawingInputs) -> DrawingState:
        """Draws tokens until `inputs.end` steps are done or every row is; returns the new state.

        Args:
            form: Which operations choose a token.
            state: Where the drawing is.
            inputs: What it reads.
        """
        return self.compiled(("draw", form), lambda model, *args: _draw(model, form, *args))(state, inputs)

    def compiled(self, key: Hashable, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns `lambda *args: function(model, *args)`, compiled once for each key.

        Args:
            key: Names the function and everything that it closes over.
            function: Takes the model and nested structures of arrays; it must not refer to the model.
        """
        if key not in self._compiled:
            self._compiled[key] = compile_for(self._model(), function, jit_compile=True)
        return self._compiled[key]


def _parts(model: Any) -> list[Any]:
    return model.models if isinstance(model, ModelPair) else [model]


def padded_length(length: int) -> int:
    """Returns the length to which prompts are padded on the left: complete pieces of more than one token."""
    smallest = PIECES[-2]
    return -(-length // smallest) * smallest


def pieces_of(length: int) -> list[int]:
    """Returns the lengths of the pieces in which `length` tokens are read."""
    pieces = []
    for size in PIECES:
        count, length = divmod(length, size)
        pieces += [size] * count
    return pieces


def _read(model: Any, token_ids: Any, cache: Any, index: Any, padding: Any) -> Any:
    # The logits are not used, so the compiler leaves the head out.
    _, cache = model.decode(token_ids, cache, index, padding=padding)
    return cache


def _draw(model: Any, form: SamplingForm, state: DrawingState, inputs: DrawingInputs) -> DrawingState:
    def is_unfinished(now: DrawingState) -> Any:
        return ops.logical_and(now.step < inputs.end, ops.logical_not(ops.all(now.is_done)))

    def draw_one(now: DrawingState) -> DrawingState:
        logits, cache = model.decode(now.last[:, None], now.cache, now.index, padding=inputs.padding)
        uniforms = ops.take(inputs.uniforms, now.step, axis=1)
        drawn = form.next_tokens(logits[:, 0], uniforms, now.processors, inputs.sampling)
        drawn = ops.where(now.is_done, 0, drawn)
        processors = form.advance(now.processors, drawn, inputs.sampling)
        return _after(now, drawn, inputs)._replace(processors=processors, cache=cache)

    return run_while(is_unfinished, draw_one, state)


def _after(now: DrawingState, drawn: Any, inputs: DrawingInputs) -> DrawingState:
    is_stop = ops.any(drawn[:, None] == inputs.stop_ids[None], axis=1)
    is_full = now.step + 1 >= inputs.limits
    return now._replace(
        step=now.step + 1,
        index=now.index + 1,
        last=drawn,
        is_done=ops.logical_or(now.is_done, ops.logical_or(is_stop, is_full)),
        counts=now.counts + ops.cast(ops.logical_not(now.is_done), "int32"),
        tokens=ops.slice_update(now.tokens, [0, now.step], drawn[:, None]),
    )
