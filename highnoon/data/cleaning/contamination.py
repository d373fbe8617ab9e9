"""Whether a model would train on what it is to be measured by."""

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
from highnoon.data.tokens.splitting import split_hash, split_threshold
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
    """Returns which examples of benchmarks, and of the held-out documents, are in what would be trained on.

    An example is contaminated if a training document holds the same run of `n` words. Words are runs of
    letters and digits, casefolded, and single characters of Chinese and Japanese; punctuation and spaces
    do not count. An example of fewer words is sought as a whole, one of fewer than eight only as the whole
    of a training document.

    The runs of the benchmarks and of the held-out side are kept in memory, at most 36 bytes a word of them.
    The training documents are read once, one at a time, and only those that the split trains on; for the
    held-out side the source is read a second time.

    Args:
        train: What would be trained on: a source, or its name as `open_source` takes it.
        others: Benchmarks, likewise; each of their documents is an example.
        n: Words of a run, at least 2.
        validation_split: Share of `train` that is held out, as `tokenize` takes it, in [0, 1).
        num_examples: How many contaminated examples of each benchmark to show.

    Returns:
        JSON-able: `train` with its name and what was read of it, `n`, and for each of `benchmarks` the
        number of its examples, of those that are contaminated, their share, the number of training
        documents that hold any of it, and `found`: the first contaminated examples, each with source, id
        and characters (`start`, `stop`) on both sides and the words that they share.

    Raises:
        DataError: a source cannot be read, a benchmark holds no words, or an argument is out of range.

    Brown et al. (2020), "Language Models are Few-Shot Learners", appendix C. They choose n by benchmark,
    between 8 and 13, leave out runs that occur more than ten times, and cut the passages out of the
    training documents; here n is one number, frequent runs count, and `NotIn` drops whole documents.

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
    """Prints and returns what `find_contamination` finds; `console` None takes the standard output."""
    report = find_contamination(train, others, n, validation_split, num_examples)
    console = console or TerminalConsole()
    trained = report["train"]
    table = Table(
        "benchmark",
        title_justify="left",
        title=plain_text(
            f"Runs of {n} words that {trained['source']} shares "
            f"({trained['documents']:,} documents, {trained['words']:,} words)"
        ),
    )
    for heading in ("examples", "contaminated", "share", "training documents"):
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
    """One benchmark, and what was found of it so far."""

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
        document
        for document in source.documents()
        if (split_hash(document.text) < threshold) == is_validation
    )
