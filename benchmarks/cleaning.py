"""How fast the cleaning steps and the search for contamination are, on one core.

    python benchmarks/cleaning.py
    python benchmarks/cleaning.py --data "corpus/*.jsonl" --megabytes 200

Text is read before the clock starts, so that the figures are those of the steps. Each step sees the whole
text; `chain` is the usual ones together, each on what those before it left. Figures are medians over some
rounds of everyone after the other, in megabytes of UTF-8 for each second of the processor, so that what else
runs on the machine does not count.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator

from lib.report import write_report

from highnoon.data import Document, DocumentSource, open_source
from highnoon.data.cleaning import (
    AlphabetShare,
    CleanedSource,
    ExactDuplicates,
    Language,
    Length,
    LetterShare,
    NearDuplicates,
    NotIn,
    PersonalData,
    Repetition,
)
from highnoon.data.cleaning.contamination import find_contamination


class Held(DocumentSource):
    """Documents that are in memory."""

    def __init__(self, documents: list[Document]) -> None:
        self.name = "held"
        self._documents = documents

    def documents(self) -> Iterator[Document]:
        return iter(self._documents)

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(repr(self._documents).encode())


def read(name: str, megabytes: float) -> tuple[Held, float]:
    """Returns the first documents of a source and their size in megabytes."""
    documents: list[Document] = []
    size = 0
    for document in open_source(name).documents():
        documents.append(document)
        size += len(document.text.encode())
        if size >= megabytes * 1e6:
            break
    return Held(documents), size / 1e6


def near_duplicates_kilobytes(source: Held) -> float:
    """Returns what `NearDuplicates` holds for each document that stays."""
    judge = NearDuplicates().start()
    tracemalloc.start()
    kept = sum(judge(document) is None for document in source.documents())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / kept / 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="stdlib")
    parser.add_argument("--megabytes", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    source, megabytes = read(arguments.data, arguments.megabytes)
    benchmark = Held(
        [Document(document.text[:400], "benchmark", document.id) for document in source.documents()][:200]
    )
    alone = {
        step.name: [step]
        for step in (
            Length(20, min_words=5),
            LetterShare(),
            AlphabetShare(),
            Repetition(),
            PersonalData(),
            ExactDuplicates(),
            NearDuplicates(),
            NotIn(benchmark),
            Language(),
        )
    }
    usual = [Length(20), LetterShare(), Repetition(), PersonalData(), ExactDuplicates()]
    chains = alone | {"chain": usual, "chain_with_near_duplicates": [*usual, NearDuplicates()]}
    runs: dict[str, Callable[[], object]] = {
        name: lambda steps=steps: collections.deque(CleanedSource(source, steps).documents(), maxlen=0)
        for name, steps in chains.items()
    }
    runs["find_contamination"] = lambda: find_contamination(source, [benchmark], validation_split=0.0)
    runs["find_contamination_of_the_split"] = lambda: find_contamination(source, validation_split=0.1)
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            speeds[name].append(megabytes / (time.process_time() - start))
    figures = {f"{name}_mb_per_cpu_second": statistics.median(found) for name, found in speeds.items()}
    write_report(
        "cleaning",
        {
            "data": arguments.data,
            "megabytes": megabytes,
            "documents": len(list(source.documents())),
            **figures,
            "near_duplicates_kb_per_document": near_duplicates_kilobytes(source),
        },
    )


if __name__ == "__main__":
    main()
