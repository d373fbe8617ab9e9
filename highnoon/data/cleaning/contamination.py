"""Finds benchmark examples and held-out documents in training data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from highnoon.data.cleaning.benchmark_index import BenchmarkIndex, Overlap
from highnoon.data.cleaning.word_ngrams import hash_words, split_words, word_pattern
from highnoon.data.document import Document, DocumentSource
from highnoon.data.sources.open_source import open_source
from highnoon.data.tokens.splitting import document_hash, split_threshold
from highnoon.files.terminal_console import TerminalConsole, plain_text

GRAM_WORDS = 13
VALIDATION = "validation split"


def find_contamination(
    train: DocumentSource | str,
    others: Sequence[DocumentSource | str] = (),
    n: int = GRAM_WORDS,
    validation_split: float = 0.1,
    num_examples: int = 3,
) -> dict[str, Any]:
    """Returns which examples of benchmarks, and which held-out documents, are in the training documents.

    An example is contaminated if a training document has an n-gram of `n` words in common with it. Words are
    runs of letters and digits, casefolded, and single Chinese and Japanese characters; punctuation and spaces
    are ignored. An example of fewer words must match completely, and one of fewer than eight words must equal
    a complete training document.

    The n-grams of the benchmarks and of the held-out documents are in memory, at most 36 bytes per word. The
    training documents are read once, one at a time; for the held-out documents the source is read a second
    time.

    Args:
        train: The training data: a source, or its name for `open_source`.
        others: Benchmarks: sources, or their names; each of their documents is an example.
        n: Words of an n-gram, at least 2.
        validation_split: Fraction of `train` that is held out, as in `tokenize`, in [0, 1).
        num_examples: How many contaminated examples of each benchmark to return.

    Returns:
        JSON values: `train` with its name and counts, `n`, and for each of `benchmarks` the number of its
        examples, of contaminated examples, their fraction (`share`), the number of training documents with a
        match, and `found`: the first contaminated examples, each with source, id and characters (`start`,
        `stop`) on both sides and the words in common.

    Raises:
        DataError: If a source cannot be read, a benchmark has no words, or an argument is out of range.

    Brown et al. (2020), "Language Models are Few-Shot Learners", appendix C. They choose n per benchmark,
    between 8 and 13, ignore n-grams that occur more than ten times, and remove the passages from the training
    documents; here n is one number, frequent n-grams count, and `NotIn` drops complete documents.

    Example:

    ```python
    import pathlib, tempfile
    with tempfile.TemporaryDirectory() as folder:
        question = "Which of the four foxes of the old story met nine crows by the river?"
        pathlib.Path(folder, "questions.txt").write_text(question)
        pathlib.Path(folder, "train.txt").write_text(f"A page about tests. {question.upper()} The third.")
        report = find_contamination(f"{folder}/train.txt", [f"{folder}/questions.txt"], validation_split=0.0)
        assert report["benchmarks"][0]["contaminated"] == 1
    ```
    """
    source = open_source(train)
    others = [others] if isinstance(others, str) else others
    searches = [
        _Search(BenchmarkIndex(other.name, other.documents(), n).require_words(), num_examples)
        for other in map(open_source, others)
    ]
    if split_threshold(validation_split):
        held_out = _side(source, validation_split, is_validation=True)
        searches.append(_Search(BenchmarkIndex(VALIDATION, held_out, n), num_examples))
    num_documents = num_words = 0
    for document in _side(source, validation_split, is_validation=False):
        words = hash_words(split_words(document.text))
        num_documents += 1
        num_words += len(words)
        for search in searches:
            search.add(document, search.index.find_hashed(words))
    return {
        "train": {"source": source.name, "documents": num_documents, "words": num_words},
        "n": n,
        "benchmarks": [search.as_dict() for search in searches],
    }


def report_contamination(
    train: DocumentSource | str,
    others: Sequence[DocumentSource | str] = (),
    n: int = GRAM_WORDS,
    validation_split: float = 0.1,
    num_examples: int = 3,
    console: Console | None = None,
) -> dict[str, Any]:
    """Prints and returns the result of `find_contamination`; `console` None uses the standard output."""
    report = find_contamination(train, others, n, validation_split, num_examples)
    console = console or TerminalConsole()
    trained = report["train"]
    table = Table(
        "benchmark",
        title_justify="left",
        title=plain_text(
            f"Runs of {n} words in common with {trained['source']} "
            f"({trained['documents']:,} documents, {trained['words']:,} words)"
        ),
    )
    for heading in ("examples", "contaminated", "fraction", "training documents"):
        table.add_column(heading, justify="right")
    for entry in report["benchmarks"]:
        table.add_row(
            plain_text(entry["benchmark"]),
            f"{entry['examples']:,}",
            f"{entry['contaminated']:,}",
            f"{entry['share']:.2%}",
            f"{entry['train_documents']:,}",
        )
    console.print(table)
    for entry in report["benchmarks"]:
        for found in entry["found"]:
            sides = " in ".join(
                f"{side['source']}:{side['id']}[{side['start']}:{side['stop']}]"
                for side in (found["example"], found["train"])
            )
            console.print(plain_text(f"{sides}: {found['words']}"))
    return report


@dataclasses.dataclass
class _Search:
    """A benchmark, and its matches so far."""

    index: BenchmarkIndex
    num_examples: int
    train_documents: int = 0
    found: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def is_contaminated(self) -> np.ndarray:
        return np.zeros(len(self.index), bool)

    def add(self, document: Document, overlaps: list[Overlap]) -> None:
        self.train_documents += bool(overlaps)
        for overlap in overlaps:
            if not self.is_contaminated[overlap.example] and len(self.found) < self.num_examples:
                self.found.append(self._entry(document, overlap))
            self.is_contaminated[overlap.example] = True

    def as_dict(self) -> dict[str, Any]:
        contaminated = int(self.is_contaminated.sum())
        return {
            "benchmark": self.index.name,
            "examples": len(self.index),
            "contaminated": contaminated,
            "share": contaminated / max(len(self.index), 1),
            "train_documents": self.train_documents,
            "found": self.found,
        }

    def _entry(self, document: Document, overlap: Overlap) -> dict[str, Any]:
        matches = list(word_pattern(document.text).finditer(document.text))
        run = matches[overlap.word : overlap.word + overlap.num_words]
        source, name = self.index.labels[overlap.example]
        start, stop = overlap.example_span
        return {
            "example": {"source": source, "id": name, "start": start, "stop": stop},
            "train": {
                "source": document.source,
                "id": document.id,
                "start": run[0].start(),
                "stop": run[-1].end(),
            },
            "words": " ".join(match[0] for match in run),
        }


def _side(source: DocumentSource, validation_split: float, is_validation: bool) -> Iterator[Document]:
    threshold = split_threshold(validation_split)
    return (
        document for document in source.documents() if (document_hash(document) < threshold) == is_validation
    )
