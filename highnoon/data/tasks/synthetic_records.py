"""The records of a task's generator."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.hub_source import HubSource
from highnoon.data.tasks.task_definition import TaskDefinition
from highnoon.data.tokens.splitting import SPLIT_SEED

DEFAULT_COUNT = 10_000


class SyntheticRecords(HubSource):
    """Records that the generator of a task makes: record `i` depends on the task, the seed and `i` alone.

    Each record has `source`, such as `"synthetic:bash_command"`, and `id`.

    Args:
        definition: The task.
        count: Number of records.
        seed: Seed of the generator.
        options: How documents are made of them.
    """

    def __init__(
        self,
        definition: TaskDefinition,
        count: int = DEFAULT_COUNT,
        seed: int = SPLIT_SEED,
        options: ReadOptions | None = None,
    ) -> None:
        super().__init__(options)
        self.definition = definition
        self.count = count
        self.seed = seed
        self.name = f"synthetic:{definition.name}"

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Yields the records."""
        for number in range(self.count):
            rng = random.Random(f"{self.seed} {self.definition.name} {number}")
            record = self.definition.synthesize(rng)
            yield {**record, "source": self.name, "id": str(number)}

    def _records(self) -> Iterator[Mapping[str, Any]]:
        return self.records()

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self.options.describe().encode())
        for record in self.records():
            digest.update(json.dumps(record, sort_keys=True).encode())
