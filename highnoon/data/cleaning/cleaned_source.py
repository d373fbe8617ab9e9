"""A source whose documents pass a chain of cleaning steps, with a report of those that do not."""

from __future__ import annotations

import collections
import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from highnoon.data.cleaning.report import KEPT, READ, CleaningReport, Event, judge_all
from highnoon.data.cleaning.step import Step
from highnoon.data.document import Document, DocumentSource


class CleanedSource(DocumentSource):
    """The documents of another source that pass all steps, in its order.

    Each document passes the steps one after another until one drops it. A step sees only what the previous
    steps kept: put cheap steps first, and duplicates after steps that change texts.

    Args:
        source: The source to clean.
        steps: The steps, in order; none keeps everything.
        num_examples: How many documents to name in the report for each reason.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import Files
    from highnoon.data.cleaning import CleanedSource, ExactDuplicates, Length
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("A line.\\na  LINE.\\nno\\n")
        source = CleanedSource(Files(f"{folder}/a.txt", split="line"), [Length(3), ExactDuplicates()])
        assert [document.text for document in source.documents()] == ["A line."]
        report = source.report()
        assert report["kept"] == {"documents": 1, "bytes": 7}
        assert report["steps"][1]["dropped"]["duplicate"]["examples"] == [{"source": "a.txt", "id": "1"}]
    ```
    """

    def __init__(self, source: DocumentSource, steps: Sequence[Step], num_examples: int = 3) -> None:
        self.source = source
        self.name = source.name
        self.steps = list(steps)
        self.num_examples = num_examples
        self._report: dict[str, Any] | None = None

    def documents(self) -> Iterator[Document]:
        judges = [step.start() for step in self.steps]
        report = CleaningReport(self.steps, self.num_examples)
        for document in self.source.documents():
            kept, events = judge_all(document, judges)
            report.add(Event(READ), document)
            for event, seen in events:
                report.add(event, seen)
            if kept is not None:
                report.add(Event(KEPT), kept)
                yield kept
        self._report = report.as_dict(self.name)

    @property
    def is_read(self) -> bool:
        """Whether all documents have been read once, so that `report` returns at once."""
        return self._report is not None

    def report(self) -> dict[str, Any]:
        """Returns the report; reads all documents first if they have not been read yet.

        `read`, `kept` and `dropped` have `documents` and `bytes`. `steps` has an entry for each step: its
        name and options, and in `dropped` and `changed` for each reason `documents`, `bytes` (before the
        step) and `examples`, the first few with `source` and `id`. All values are JSON values.
        """
        if self._report is None:
            collections.deque(self.documents(), maxlen=0)
        return copy.deepcopy(self._report or {})

    def _describe(self, digest: hashlib.blake2b) -> None:
        steps = [[step.name, step.version, step.options()] for step in self.steps]
        digest.update(f"{self.source.fingerprint()}{json.dumps(steps)}".encode())
