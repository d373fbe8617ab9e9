"""Several logits processors as one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from highnoon.inference.logits_processors.logits_processor import LogitsProcessor


class ProcessorChain(LogitsProcessor):
    """Applies logits processors one after another. Chains are equal where their processors' forms are.

    Args:
        processors: In the order in which they act; none leaves the logits alone.
    """

    def __init__(self, processors: Sequence[LogitsProcessor]):
        self._processors = tuple(processors)

    @property
    def form(self) -> Hashable:
        return tuple(processor.form for processor in self._processors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProcessorChain) and self.form == other.form

    def __hash__(self) -> int:
        return hash(self.form)

    def values(self, num_ids: int) -> tuple[Any, ...]:
        return tuple(processor.values(num_ids) for processor in self._processors)

    def initial_state(self, prompts: Sequence[Sequence[int]], num_ids: int) -> tuple[Any, ...]:
        return tuple(processor.initial_state(prompts, num_ids) for processor in self._processors)

    def apply(self, logits: Any, state: Any, values: Any) -> Any:
        for processor, its_state, its_values in zip(self._processors, state, values, strict=True):
            logits = processor.apply(logits, its_state, its_values)
        return logits

    def advance(self, state: Any, token_ids: Any, values: Any) -> tuple[Any, ...]:
        return tuple(
            processor.advance(its_state, token_ids, its_values)
            for processor, its_state, its_values in zip(self._processors, state, values, strict=True)
        )
