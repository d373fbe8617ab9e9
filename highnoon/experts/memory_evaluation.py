"""What a memory gains on held-out documents, with weights that were chosen on others of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from highnoon.config import ConfigError, require_count
from highnoon.data import PackedRows
from highnoon.experts.memory_mix import Floats, MemoryMix, mixed_log_probs, softmin
from highnoon.experts.memory_stores import DOCUMENT_NUMBERS
from highnoon.experts.own_tokens import own_tokens
from highnoon.experts.vector_memory import VectorMemory

WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
CACHE_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2)
TEMPERATURES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclasses.dataclass(frozen=True)
class MemoryEvaluation:
    """The loss of a model with and without a memory, on held-out documents.

    Args:
        loss: Nats a token with the memory, on the documents on which nothing was chosen.
        loss_without: The model's own on the same documents.
        num_tokens: Supervised tokens of these documents.
        mix: What was chosen on the other half.
        chosen_loss: Nats a token on the documents that it was chosen on.
        chosen_loss_without: The model's own on these.
    """

    loss: float
    loss_without: float
    num_tokens: int
    mix: MemoryMix
    chosen_loss: float
    chosen_loss_without: float


class _Scores(NamedTuple):
    """Of n labels and each temperature: log probabilities (n,), and probabilities (temperatures, n)."""

    model: npt.NDArray[np.float32]
    memory: Floats
    has_memory: npt.NDArray[np.bool_]
    cache: Floats
    has_cache: npt.NDArray[np.bool_]

    def losses(self, temperature: int, mix: MemoryMix) -> Floats:
        memory, cache = self.memory[temperature], self.cache[temperature]
        return -mixed_log_probs(mix, self.model, (memory, self.has_memory), (cache, self.has_cache))


def evaluate_memory(
    memory: VectorMemory,
    model: Any,
    rows: PackedRows,
    batch_size: int = 8,
    num_neighbors: int = 64,
    weights: Sequence[float] = WEIGHTS,
    cache_weights: Sequence[float] = (0.0,),
    temperatures: Sequence[float] = TEMPERATURES,
) -> MemoryEvaluation:
    """Chooses weights and temperature on every second held-out document, and reports the loss on the others.

    Nothing is written: neither the memory nor its folder changes.

    Args:
        memory: Of training documents.
        model: The model whose states it holds; its hash is compared.
        rows: Held-out rows from `memory.rows`, of at least two documents.
        batch_size: Rows computed together.
        num_neighbors: Neighbors of each state.
        weights: Weights of the memory to choose from.
        cache_weights: Weights of the document's earlier tokens to choose from, such as `CACHE_WEIGHTS`; the
            default uses none.
        temperatures: Temperatures to choose from.

    Raises:
        ConfigError: other rows, fewer than two documents, or values out of their range.
        VectorIndexError: another model.
    """
    require_count("batch_size", batch_size)
    mixes = _mixes(weights, cache_weights, temperatures, num_neighbors)
    _require_rows(rows)
    memory.require_model(model)
    documents = np.arange(rows.num_documents)
    halves = [
        _scores(memory, model, rows, documents[half::2], batch_size, num_neighbors, temperatures)
        for half in (0, 1)
    ]
    _, number, mix = min((float(halves[0].losses(number, mix).mean()), number, mix) for number, mix in mixes)
    reported, chosen = halves[1].losses(number, mix), halves[0].losses(number, mix)
    return MemoryEvaluation(
        loss=float(reported.mean()),
        loss_without=float(-halves[1].model.mean(dtype=np.float64)),
        num_tokens=len(reported),
        mix=mix,
        chosen_loss=float(chosen.mean()),
        chosen_loss_without=float(-halves[0].model.mean(dtype=np.float64)),
    )


def _scores(
    memory: VectorMemory,
    model: Any,
    rows: PackedRows,
    documents: npt.NDArray[np.int64],
    batch_size: int,
    num_neighbors: int,
    temperatures: Sequence[float],
) -> _Scores:
    reader = memory.reader(model)
    parts = []
    view = rows.view(0, documents)
    for start in range(0, view.num_rows, batch_size):
        batch = view.read(start, batch_size)
        is_label = batch["loss_weights"] > 0
        labels = batch["labels"]
        states, log_probs = reader.with_label_log_probs(batch)
        distances, tokens = memory.neighbors(states[is_label], batch, is_label, num_neighbors)
        is_match = tokens == labels[is_label][:, None]
        own = own_tokens(states, batch)
        parts.append(
            _Scores(
                log_probs[is_label],
                np.stack([(softmin(distances, t) * is_match).sum(axis=-1) for t in temperatures]),
                np.asarray(np.isfinite(distances).any(axis=-1)),
                np.stack([_cache_probabilities(own, labels, t)[is_label] for t in temperatures]),
                np.stack([np.isfinite(distance).any(axis=-1) for distance, _ in own])[is_label],
            )
        )
    return _Scores(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)))


def _cache_probabilities(own: Any, labels: npt.NDArray[np.int32], temperature: float) -> Floats:
    return np.stack(
        [
            (softmin(distances, temperature) * (following == of_row[:, None])).sum(axis=-1)
            for (distances, following), of_row in zip(own, labels, strict=True)
        ]
    )


def _mixes(
    weights: Sequence[float],
    cache_weights: Sequence[float],
    temperatures: Sequence[float],
    num_neighbors: int,
) -> list[tuple[int, MemoryMix]]:
    mixes = [
        (number, MemoryMix(weight, temperature, cache_weight, num_neighbors))
        for number, temperature in enumerate(temperatures)
        for weight in weights
        for cache_weight in cache_weights
        if weight + cache_weight < 1
    ]
    if not mixes:
        raise ConfigError(
            "`weights`, `cache_weights` and `temperatures` must each have a value, and a pair of weights "
            "below 1 together; received none"
        )
    return mixes


def _require_rows(rows: PackedRows) -> None:
    if rows.split != "validation" or DOCUMENT_NUMBERS not in rows.numbers:
        raise ConfigError(
            f"`rows` must be held-out rows from `memory.rows`; received rows of the {rows.split} split"
            f"{'' if DOCUMENT_NUMBERS in rows.numbers else f' without `{DOCUMENT_NUMBERS}`'}"
        )
    if rows.num_documents < 2:
        raise ConfigError(
            "`rows` must have at least 2 held-out documents, one to choose on and one to report on; received "
            f"{rows.num_documents}: hold out more"
        )
