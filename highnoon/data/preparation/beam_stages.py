"""The stages of a Beam pipeline: read, clean, encode and write pieces of a token store."""

from __future__ import annotations

import io
import json
import pathlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from highnoon.data.bad_records import left_out
from highnoon.data.cleaning import StatelessStep
from highnoon.data.cleaning.exact_duplicates import duplicate_hash
from highnoon.data.cleaning.report import DROPPED, Event, Tally, count_bytes, judge_all, merge_tallies
from highnoon.data.cleaning.step import Judge
from highnoon.data.document import Document, DocumentSource
from highnoon.data.preparation.fill_store import document_batches
from highnoon.data.tokens.encoding import EncodedBatch, encode_batch
from highnoon.data.tokens.origins import document_origin
from highnoon.files.name_path import name_path
from highnoon.tokenization import Tokenizer

# Part of the source, index in the part: sorts in the order of the source.
Position = tuple[int, int]
Positioned = tuple[Position, Document]
Counted = tuple[tuple[str, int, str], Tally]
# A document after some steps, None if it was dropped, and its counted events.
Cleaned = tuple[Positioned | None, list[Counted]]

_PIECE_DOCUMENTS = 4096


def read_part(numbered: tuple[int, DocumentSource], folder: str) -> Iterator[Positioned]:
    """Yields the documents of one part of the source, and writes the report of what was skipped."""
    number, part = numbered
    for index, document in enumerate(part.documents()):
        yield (number, index), document
    if report := left_out(part):
        _write_whole(pathlib.Path(folder, f"left-out-{number:08d}.json"), json.dumps(report).encode())


def read_left_out(folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yields the reports of skipped records of all parts, in the order of the source."""
    for path in sorted(folder.glob("left-out-*.json")):
        yield json.loads(path.read_bytes())


def count(positioned: Positioned, event: Event) -> Counted:
    """Returns the tally of one document, with the event as a key."""
    position, document = positioned
    examples = ((position, document.source, document.id),) if event.step >= 0 else ()
    return (event.kind, event.step, event.reason), Tally(1, count_bytes(document.text), examples)


class CleanAlone:
    """Passes each document through stateless steps, which load their resources once per worker."""

    def __init__(self, steps: Sequence[StatelessStep], first_step: int) -> None:
        self._steps = steps
        self._first_step = first_step
        self._judges: list[Judge] | None = None

    def __call__(self, positioned: Positioned) -> Cleaned:
        if self._judges is None:
            self._judges = [step.start() for step in self._steps]
        position, document = positioned
        kept, events = judge_all(document, self._judges, self._first_step)
        counted = [count((position, seen), event) for event, seen in events]
        return (None if kept is None else (position, kept)), counted


def by_text(positioned: Positioned) -> tuple[int, Positioned]:
    """Returns a document with the hash that its duplicates have too, as a key."""
    return duplicate_hash(positioned[1].text), positioned


def keep_first(group: tuple[int, Iterable[Positioned]], step: int, reason: str) -> Iterator[Cleaned]:
    """Yields the first of equal documents, and counts the others."""
    ordered = sorted(group[1], key=lambda positioned: positioned[0])
    yield ordered[0], []
    for positioned in ordered[1:]:
        yield None, [count(positioned, Event(DROPPED, step, reason))]


def add_up(tallies: Iterable[Tally], num_examples: int) -> Tally:
    """Returns the sum of some tallies."""
    return merge_tallies(tallies, num_examples)


def write_tallies(counted: Sequence[Counted], path: str) -> None:
    """Writes all tallies for the process that started the pipeline."""
    values = [[*event, tally.documents, tally.num_bytes, tally.examples] for event, tally in counted]
    _write_whole(pathlib.Path(path), json.dumps(values).encode())


def read_tallies(path: pathlib.Path) -> dict[Event, Tally]:
    """Returns the tallies that `write_tallies` wrote; none if no document was counted."""
    values = json.loads(path.read_bytes()) if path.is_file() else []
    return {
        Event(kind, step, reason): Tally(documents, num_bytes, tuple(map(tuple, examples)))
        for kind, step, reason, documents, num_bytes, examples in values
    }


def by_piece(positioned: Positioned) -> tuple[Position, Positioned]:
    """Returns a document with the piece of the store that it belongs to, as a key."""
    (part, index), _ = positioned
    return (part, index // _PIECE_DOCUMENTS), positioned


def write_piece(group: tuple[Position, Iterable[Positioned]], tokenizer: Tokenizer, folder: str) -> None:
    """Encodes the documents of a piece in their order and writes them, all or none."""
    (part, number), found = group
    ordered = [document for _, document in sorted(found, key=lambda positioned: positioned[0])]
    for index, batch in enumerate(document_batches(ordered)):
        encoded = encode_batch(
            [document.text for document in batch],
            [document.supervised for document in batch],
            tokenizer,
            [document.marks for document in batch],
            [document.split_hash for document in batch],
        )
        arrays = {name: values for name, values in encoded._asdict().items() if values is not None}
        # As JSON: an array of strings takes as much for each as for the longest.
        origins = np.frombuffer(json.dumps(list(map(document_origin, batch))).encode(), np.uint8)
        written = io.BytesIO()
        domains = np.array([document.domain for document in batch])
        np.savez(written, domains=domains, origins=origins, **arrays)
        name = f"{part:08d}-{number:012d}-{index:08d}.npz"
        _write_whole(pathlib.Path(folder, name), written.getbuffer())


def read_pieces(folder: pathlib.Path) -> Iterator[tuple[EncodedBatch, list[str], list[str]]]:
    """Yields the batches that `write_piece` wrote, in the order of the source, with domains and origins."""
    for path in sorted(folder.glob("[0-9]*.npz")):
        with np.load(path) as arrays:
            encoded = EncodedBatch(*(arrays.get(name) for name in EncodedBatch._fields))
            yield encoded, arrays["domains"].tolist(), json.loads(arrays["origins"].tobytes())


def _write_whole(path: pathlib.Path, data: bytes | memoryview) -> None:
    # Two workers may process the same piece; they write the same bytes.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with name_path(path):
        temporary.write_bytes(data)
    temporary.replace(path)
