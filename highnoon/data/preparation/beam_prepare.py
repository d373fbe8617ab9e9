"""Prepares tokens on many machines with Apache Beam (extra `beam`)."""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from highnoon.data.bad_records import BadRecords, describe_left_out
from highnoon.data.cleaning import CleanedSource, ExactDuplicates, StatelessStep, Step
from highnoon.data.cleaning.report import KEPT, READ, CleaningReport, Event
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.preparation.beam_stages import (
    CleanAlone,
    Cleaned,
    Counted,
    Positioned,
    add_up,
    by_piece,
    by_text,
    count,
    keep_first,
    read_left_out,
    read_part,
    read_pieces,
    read_tallies,
    write_piece,
    write_tallies,
)
from highnoon.data.preparation.prepare import is_finished, preparation_lock, restartable
from highnoon.data.preparation.tokenize import require_training, store_key
from highnoon.data.records.record_source import RecordSource
from highnoon.data.sources.domain_folder import DomainFolder
from highnoon.data.sources.files import Files
from highnoon.data.sources.open_source import open_source
from highnoon.data.sources.source_template import source_template
from highnoon.data.tokens.splitting import has_split_hashes
from highnoon.data.tokens.store_writer import StoreWriter
from highnoon.data.tokens.token_store import PROGRESS_FILE, TokenStore
from highnoon.files.expand_home import expand_home
from highnoon.tokenization import Tokenizer

_TALLIES_FILE = "tallies.json"


def beam_prepare(
    source: DocumentSource | str,
    tokenizer: Tokenizer,
    folder: str | os.PathLike[str],
    steps: Sequence[Step] = (),
    validation_split: float = 0.1,
    num_examples: int = 3,
    pipeline_options: Any = None,
) -> tuple[TokenStore, dict[str, Any]]:
    """Cleans and tokenizes a source in a Beam pipeline, and returns the tokens and the cleaning report.

    The folder is byte for byte the one that `prepare(CleanedSource(source, steps), tokenizer, folder)`
    writes, and the report is the one of that source. Each worker reads a file, cleans and tokenizes it, and
    writes pieces next to `folder`; this process joins them in the order of the source. So all workers must
    have access to the files of the source, and to the parent of `folder`, under the same path. A source that
    is not made of files is read by one worker.

    `ExactDuplicates` groups documents by their hash. Steps that depend on all previous documents, such as
    `NearDuplicates`, and `check_ids` of the source raise an error.

    Args:
        source: A source, or its name for `open_source`. Workers must be able to unpickle it.
        tokenizer: The tokenizer.
        folder: A new or empty folder, or one that an earlier call left. A finished one is returned with an
            empty report.
        steps: Cleaning steps that documents pass first.
        validation_split: Fraction of documents to hold out, by a hash of their text, in [0, 1).
        num_examples: How many documents to name in the report for each reason.
        pipeline_options: `apache_beam` options: runner, workers, temporary folders; None runs the pipeline in
            this process.

    Raises:
        ImportError: If the extra `beam` is not installed.
        DataError: If a step or `check_ids` cannot run in parallel, the source cannot be read, no document is
            left, or `folder` has other content.
    """
    _require_divisible(steps)
    opened = open_source(source)
    _require_unchecked_ids(opened)
    if opened.has_labels:
        raise DataError(f"labels of {opened.name} cannot be stored by a pipeline yet; use `prepare`")
    path = expand_home(folder).absolute()
    key = store_key(CleanedSource(opened, steps) if steps else opened, tokenizer)
    report: dict[str, Any] = {}
    with preparation_lock(path):
        if not is_finished(path, key):
            with restartable(path, key), _new_folder(path.with_name(f".{path.name}-pieces")) as pieces:
                _run(_parts(opened), steps, tokenizer, pieces, num_examples, pipeline_options)
                counts = CleaningReport(steps, num_examples)
                for event, tally in read_tallies(pieces / _TALLIES_FILE).items():
                    counts.put(event, tally)
                report = counts.as_dict(opened.name)
                _join(pieces, opened, tokenizer, key, path, validation_split)
    return require_training(TokenStore(path, tokenizer, opened.name, validation_split)), report


def _require_divisible(steps: Sequence[Step]) -> None:
    for step in steps:
        if not isinstance(step, (StatelessStep, ExactDuplicates)):
            raise DataError(
                f"`{step.name}` compares each document with all previous ones, which cannot run in "
                f"parallel; use `CleanedSource` with `prepare`"
            )


def _require_unchecked_ids(source: DocumentSource) -> None:
    inner: Any = source
    while inner is not None:
        if isinstance(inner, RecordSource) and inner.options.check_ids:
            raise DataError(
                f"`check_ids` compares each row of {source.name} with all before it, which no "
                f"run in parallel; open the source without it, or use `prepare`"
            )
        inner = getattr(inner, "source", None)


@contextlib.contextmanager
def _new_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields an empty folder, which is removed if nothing was raised."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


def _parts(source: DocumentSource) -> list[DocumentSource]:
    """Returns sources that together have the documents of `source`, in order."""
    if isinstance(source, DomainFolder):
        return [part for files in source.parts for part in _parts(files)]
    if not isinstance(source, Files):
        return [source]
    parts: list[DocumentSource] = []
    for path in source.paths:
        part = copy.copy(source)
        part.paths = [path]
        parts.append(part)
    return parts


def _run(
    parts: Sequence[DocumentSource],
    steps: Sequence[Step],
    tokenizer: Tokenizer,
    pieces: pathlib.Path,
    num_examples: int,
    pipeline_options: Any,
) -> None:
    beam = _beam()
    with beam.Pipeline(options=pipeline_options) as pipeline:
        documents = (
            pipeline
            | "parts" >> beam.Create(list(enumerate(parts)))
            | "spread parts" >> beam.Reshuffle()
            | "read" >> beam.FlatMap(read_part, os.fspath(pieces))
        )
        counted = [documents | "count read" >> beam.Map(count, Event(READ))]
        for first, run in _runs(steps):
            cleaned = _cleaned(beam, documents, run, first)
            documents = cleaned | f"kept by {first}" >> beam.FlatMap(_kept)
            counted.append(cleaned | f"counted by {first}" >> beam.FlatMap(_counted))
        counted.append(documents | "count kept" >> beam.Map(count, Event(KEPT)))
        _ = (
            documents
            | "by piece" >> beam.Map(by_piece)
            | "collect pieces" >> beam.GroupByKey()
            | "tokenize" >> beam.Map(write_piece, tokenizer, os.fspath(pieces))
        )
        _ = (
            counted
            | beam.Flatten()
            | "add up" >> beam.CombinePerKey(add_up, num_examples)
            | "collect tallies" >> beam.combiners.ToList()
            | "write tallies" >> beam.Map(write_tallies, os.fspath(pieces / _TALLIES_FILE))
        )


def _runs(steps: Sequence[Step]) -> Iterator[tuple[int, list[Step]]]:
    """Yields the groups of steps that one stage can run, each with the index of its first step."""
    start = 0
    for index, step in enumerate(steps):
        if not isinstance(step, StatelessStep):
            if start < index:
                yield start, list(steps[start:index])
            yield index, [step]
            start = index + 1
    if start < len(steps):
        yield start, list(steps[start:])


def _cleaned(beam: Any, documents: Any, steps: list[Step], first: int) -> Any:
    alone = [step for step in steps if isinstance(step, StatelessStep)]
    if alone:
        return documents | f"steps from {first}" >> beam.Map(CleanAlone(alone, first))
    return (
        documents
        | f"hash for {first}" >> beam.Map(by_text)
        | f"equal texts for {first}" >> beam.GroupByKey()
        | f"step {first}" >> beam.FlatMap(keep_first, first, steps[0].reason)
    )


def _kept(cleaned: Cleaned) -> list[Positioned]:
    return [] if cleaned[0] is None else [cleaned[0]]


def _counted(cleaned: Cleaned) -> list[Counted]:
    return cleaned[1]


def _join(
    pieces: pathlib.Path,
    source: DocumentSource,
    tokenizer: Tokenizer,
    key: str,
    folder: pathlib.Path,
    validation_split: float,
) -> None:
    # Pieces that were joined before the process was killed are joined again, which is quick.
    (folder / PROGRESS_FILE).unlink(missing_ok=True)
    tokenizer = tokenizer.with_chat_template(source_template(source) or tokenizer.chat_template)
    with StoreWriter(folder, key, tokenizer, source.name, validation_split) as writer:
        for encoded, domains, origins in read_pieces(pieces):
            writer.append(encoded, domains, origins=origins)
        left_out = _left_out(source, pieces)
        if not writer.progress.documents:
            reason = f" ({describe_left_out(left_out)})" if left_out else ""
            raise DataError(
                f"no document of {source.name} is left{reason}; use a source with text, or less strict steps"
            )
        writer.finish(left_out, has_split_hashes=has_split_hashes(source))


def _left_out(source: DocumentSource, pieces: pathlib.Path) -> dict[str, Any]:
    """Returns what the workers skipped, as one reading of the complete source would report it."""
    whole = BadRecords(skip=True)
    if isinstance(source, DomainFolder):
        for domain in source.empty_domains:
            whole.count("domain without files", str(source.root / domain))
        whole.add(source.files_left_out.report())
    for report in read_left_out(pieces):
        whole.add(report)
    return whole.report() if whole.total else {}


def _beam() -> Any:
    try:
        return importlib.import_module("apache_beam")
    except ImportError:
        raise ImportError("`beam_prepare` needs Apache Beam: pip install highnoon[beam]") from None
