"""Sessions: sequences in a model's cache, and the drawing of tokens that continues them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.inference.decoding.decoder import DrawingInputs, DrawingState, decoder_for, padded_length
from highnoon.inference.decoding.sampling import Sampling

_SMALLEST_CAPACITY = 256
_STOP_IDS_STEP = 4


class Session:
    """A batch of sequences in a model's cache.

    Args:
        model: A model with a cache, see `Decoder`.
        batch_size: Sequences.
        capacity: Tokens that each of them needs slots for, left padding included. The cache has at least
            as many slots, rounded up so that few lengths are compiled: at least 256, and above that four
            lengths to each doubling.
    """

    def __init__(self, model: Any, batch_size: int, capacity: int):
        self.model = model
        self.batch_size = batch_size
        self.capacity = max(_SMALLEST_CAPACITY, _rounded_up(capacity))
        self.cache = model.initial_cache(batch_size, self.capacity)
        self.length = 0
        self.padding = np.zeros(batch_size, np.int32)

    def read(self, token_ids: np.ndarray) -> None:
        """Reads (b, t) tokens into the cache, after the tokens that it contains."""
        self.cache = decoder_for(self.model).read(token_ids, self.cache, self.length, self.padding)
        self.length += token_ids.shape[1]

    def read_prompts(self, rows: Sequence[Sequence[int]]) -> None:
        """Reads all but the last token of each prompt into an empty cache, padded on the left.

        The drawing starts from the last tokens. All rows have the length of the longest one, padded to
        complete pieces.
        """
        length = padded_length(max(map(len, rows)) - 1)
        token_ids = np.zeros((self.batch_size, length), np.int32)
        self.padding = np.full(self.batch_size, length, np.int32)
        for index, row in enumerate(rows):
            self.padding[index] = length - (len(row) - 1)
            token_ids[index, self.padding[index] :] = row[:-1]
        self.read(token_ids)


def _rounded_up(capacity: int) -> int:
    step = 1 << max(0, (capacity - 1).bit_length() - 3)
    return -(-capacity // step) * step


class Drawing:
    """Draws tokens that continue the sequences of a session, some steps at a time.

    The tokens do not depend on how the steps are divided.

    Args:
        session: Contains the sequences, without the last token of each.
        prompts: The tokens of each sequence. The last one is read first; logits processors receive them all.
        sampling: How a token is chosen.
        limits: Tokens to draw at most for each sequence; 0 draws none.
        stop_ids: A sequence ends after any of these.
        uniforms: (b, n) random numbers in [0, 1), at least as many as the largest limit.
        num_ids: Ids that may be drawn, from 0.
    """

    def __init__(
        self,
        session: Session,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        limits: Sequence[int],
        stop_ids: Sequence[int],
        uniforms: np.ndarray,
        num_ids: int,
    ):
        self._session, self._form = session, sampling.form(num_ids)
        self._max_steps = max(limits)
        self._inputs = DrawingInputs(
            end=np.asarray(0, np.int32),
            padding=session.padding,
            limits=np.asarray(limits, np.int32),
            stop_ids=padded_stop_ids(stop_ids),
            uniforms=_widened(uniforms, session.capacity),
            sampling=sampling.values(num_ids),
        )
        self._state = DrawingState(
            step=np.asarray(0, np.int32),
            index=np.asarray(session.length, np.int32),
            last=np.asarray([row[-1] for row in prompts], np.int32),
            is_done=np.asarray(limits) < 1,
            counts=np.zeros(session.batch_size, np.int32),
            tokens=np.zeros((session.batch_size, session.capacity), np.int32),
            processors=sampling.processors.initial_state(prompts, num_ids),
            cache=session.cache,
        )

    @property
    def is_done(self) -> bool:
        """Whether every sequence has ended."""
        return bool(np.all(self._state.is_done)) or self._step >= self._max_steps

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache of all sequences."""
        leaves = keras.tree.flatten(self._state.cache)
        return sum(math.prod(leaf.shape) * ops.convert_to_numpy(leaf[:0]).itemsize for leaf in leaves)

    def advance(self, steps: int | None = None) -> None:
        """Draws up to `steps` more tokens for each sequence; None draws all."""
        end = self._max_steps if steps is None else min(self._max_steps, self._step + steps)
        inputs = self._inputs._replace(end=np.asarray(end, np.int32))
        self._state = decoder_for(self._session.model).draw(self._form, self._state, inputs)
        self._session.cache = self._state.cache
        self._session.length = int(self._state.index)

    def end(self, is_ended: Sequence[bool]) -> None:
        """Ends the sequences where `is_ended` holds."""
        self._state = self._state._replace(is_done=np.asarray(self._state.is_done) | np.asarray(is_ended))

    def drawn(self) -> list[list[int]]:
        """Returns the tokens drawn so far for each sequence, a stop id included.

        Raises:
            FloatingPointError: as `require_drawn`.
        """
        tokens, counts = np.asarray(self._state.tokens), np.asarray(self._state.counts)
        rows = [row[:count].tolist() for row, count in zip(tokens, counts, strict=True)]
        return require_drawn(rows)

    @property
    def _step(self) -> int:
        return int(self._state.step)


def _widened(uniforms: np.ndarray, width: int) -> np.ndarray:
    """As many columns as the cache has slots, so that the limit adds no shape to compile for."""
    widened = np.zeros((len(uniforms), width), np.float32)
    widened[:, : uniforms.shape[1]] = uniforms
    return widened


def require_drawn(rows: list[list[int]]) -> list[list[int]]:
    """Returns the new tokens of each sequence, after checking that all of them could be drawn.

    Raises:
        FloatingPointError: a token is -1: its logits were NaN or all -inf.
    """
    for index, row in enumerate(rows):
        if -1 in row:
            raise FloatingPointError(
                f"no token can be chosen after {row.index(-1)} new tokens of prompt {index}: the model's "
                "logits are NaN or all -inf; its weights may be damaged, load an earlier checkpoint, or "
                "a logits processor forbids every token"
            )
    return rows


def padded_stop_ids(stop_ids: Sequence[int]) -> np.ndarray:
    """Returns the stop ids, padded with -1 to one of few lengths, so that few shapes are compiled.

    At least one is -1, which ends a sequence in which no token could be drawn.
    """
    room = -(-(len(stop_ids) + 1) // _STOP_IDS_STEP) * _STOP_IDS_STEP
    return np.asarray([*stop_ids, *[-1] * (room - len(stop_ids))], np.int32)
