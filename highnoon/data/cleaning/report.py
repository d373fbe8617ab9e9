"""Counts what a chain of cleaning steps keeps, changes and drops."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from highnoon.data.cleaning.step import Changed, Judge, Step
from highnoon.data.document import Document

READ, KEPT, CHANGED, DROPPED = "read", "kept", "changed", "dropped"


class Event(NamedTuple):
    """A counted event: a document is read, kept, or dropped or changed by a step for a reason."""

    kind: str
    step: int = -1
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Tally:
    """The documents of one event, their UTF-8 bytes before it, and the first of them as examples.

    An example is `(order, source, id)`; `order` is any value that sorts in the order of the documents.
    """

    documents: int = 0
    num_bytes: int = 0
    examples: tuple[tuple[Any, str, str], ...] = ()


def judge_all(
    document: Document, judges: Sequence[Judge], first_step: int = 0
) -> tuple[Document | None, list[tuple[Event, Document]]]:
    """Returns a document after some steps, None if it was dropped, and the events.

    Args:
        document: The document before the first step.
        judges: What the steps' `start` returned.
        first_step: Index of the first of them in the complete chain.
    """
    events: list[tuple[Event, Document]] = []
    for step, judge in enumerate(judges, start=first_step):
        verdict = judge(document)
        if verdict is None:
            continue
        if isinstance(verdict, Changed):
            events += [(Event(CHANGED, step, reason), document) for reason in verdict.reasons]
            document = verdict.document
        else:
            events.append((Event(DROPPED, step, verdict), document))
            return None, events
    return document, events


def merge_tallies(tallies: Iterable[Tally], num_examples: int) -> Tally:
    """Returns the sum of tallies, in any order, with the first examples of all."""
    documents = num_bytes = 0
    examples: list[tuple[Any, str, str]] = []
    for tally in tallies:
        documents += tally.documents
        num_bytes += tally.num_bytes
        examples = sorted([*examples, *tally.examples])[:num_examples]
    return Tally(documents, num_bytes, tuple(examples))


def count_bytes(text: str) -> int:
    """Returns the UTF-8 bytes of a text."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


class CleaningReport:
    """Collects the tallies of one reading.

    Args:
        steps: The chain, for names and options.
        num_examples: How many examples to store for each reason.
    """

    def __init__(self, steps: Sequence[Step], num_examples: int) -> None:
        self._steps = steps
        self._num_examples = num_examples
        self._counts: dict[Event, list[int]] = {}
        self._examples: dict[Event, list[tuple[str, str]]] = {}

    def add(self, event: Event, document: Document) -> None:
        """Counts one document; the first ones become examples."""
        counts = self._counts.setdefault(event, [0, 0])
        counts[0] += 1
        counts[1] += count_bytes(document.text)
        if event.step >= 0 and counts[0] <= self._num_examples:
            self._examples.setdefault(event, []).append((document.source, document.id))

    def put(self, event: Event, tally: Tally) -> None:
        """Sets the complete tally of one event."""
        self._counts[event] = [tally.documents, tally.num_bytes]
        self._examples[event] = [(source, name) for _, source, name in tally.examples]

    def as_dict(self, source: str) -> dict[str, Any]:
        """Returns the report as `CleanedSource.report` describes it."""
        report = {
            "source": source,
            "read": self._total(READ),
            "kept": self._total(KEPT),
            "dropped": self._total(DROPPED),
            "steps": [
                {
                    "step": step.name,
                    "options": step.options(),
                    "drops": step.reason,
                    "dropped": self._reasons(DROPPED, index),
                    "changed": self._reasons(CHANGED, index),
                }
                for index, step in enumerate(self._steps)
            ],
        }
        # As read from a JSON file: lists instead of tuples.
        return json.loads(json.dumps(report))

    def _total(self, kind: str) -> dict[str, int]:
        counts = [counts for event, counts in self._counts.items() if event.kind == kind]
        return {"documents": sum(count for count, _ in counts), "bytes": sum(size for _, size in counts)}

    def _reasons(self, kind: str, step: int) -> dict[str, dict[str, Any]]:
        events = sorted(event for event in self._counts if event[:2] == (kind, step))
        return {
            event.reason: {
                "documents": self._counts[event][0],
                "bytes": self._counts[event][1],
                "examples": [
                    {"source": source, "id": name} for source, name in self._examples.get(event, [])
                ],
            }
            for event in events
        }
