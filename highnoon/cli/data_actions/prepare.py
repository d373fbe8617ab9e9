"""Tokenizes sources into folders that runs use as datasets.

  highnoon data prepare my_texts/ --output prepared/ --vocab-size 8192
  highnoon data prepare records.jsonl --output prepared/ --template '{title}: {body}' --skip-bad

A preparation that was stopped or killed is resumed by the same command. Each of several sources becomes one
store, in a folder of its name below --output, all with one tokenizer, so that a run can mix them by weight.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from highnoon.cli.data_actions.reading_options import add_reading_options, open_with_options
from highnoon.config import MAX_SIZE, require_count, require_path

if TYPE_CHECKING:
    from highnoon.data import DocumentSource
    from highnoon.tokenization import Tokenizer

SUMMARY = "tokenize sources into a folder"
DEFAULT_VOCAB_SIZE = 8192


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="files, folders, globs, dataset names")
    parser.add_argument("--output", required=True, metavar="DIR", help="new folder, or one to resume")
    tokenizer = parser.add_mutually_exclusive_group()
    tokenizer.add_argument(
        "--tokenizer", metavar="PATH", help="tokenizer.json, or a folder that contains one"
    )
    tokenizer.add_argument(
        "--vocab-size",
        type=int,
        default=DEFAULT_VOCAB_SIZE,
        metavar="N",
        help="train a tokenizer of N ids on the sources (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="number of processes; by default one for each core"
    )
    parser.add_argument(
        "--validation-split",
        type=float,
        default=0.1,
        metavar="S",
        help="fraction of documents to hold out (default: %(default)s)",
    )
    parser.add_argument(
        "--no-check-ids", action="store_true", help="accept several records with the same `id`"
    )
    parser.add_argument("--clean", metavar="FILE", help="YAML list of cleaning steps; the report is printed")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> None:
    from highnoon.data import DataError

    require_path("--output", arguments.output)
    require_count("--vocab-size", arguments.vocab_size, most=MAX_SIZE)
    sources = [open_with_options(name, arguments) for name in arguments.sources]
    if arguments.clean is not None:
        sources = _cleaned(sources, arguments.clean)
    folders = store_folders(pathlib.Path(arguments.output), [source.name for source in sources])
    _require_sound(arguments, folders)
    unreported = list(sources)
    try:
        tokenizer = _tokenizer(arguments, sources)
        for folder in folders:
            _prepare_next(unreported, tokenizer, folder, arguments)
    except DataError:
        # If the cleaning steps drop everything, their report says why.
        for source in unreported:
            _report_cleaning(source, is_whole=False)
        raise
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop).replace("the same call", "the same command")) from None
    print(
        f"\nNext:\n  highnoon train --data {shlex.join(map(str, folders))}\n"
        f"  highnoon data inspect {folders[0]}\n  highnoon data stats {folders[0]}"
    )


def _require_sound(arguments: argparse.Namespace, folders: Sequence[pathlib.Path]) -> None:
    """Makes the checks of the preparation before the tokenizer is trained."""
    from highnoon.data.preparation.prepare import require_free
    from highnoon.data.preparation.tokenize import require_workers
    from highnoon.data.tokens.splitting import split_threshold

    require_workers(arguments.workers)
    split_threshold(arguments.validation_split)
    for folder in folders:
        require_free(folder)


def _prepare_next(
    sources: list[DocumentSource], tokenizer: Tokenizer, folder: pathlib.Path, arguments: argparse.Namespace
) -> None:
    """Prepares the first of `sources`, prints the result, and removes it from the list."""
    from highnoon.data import prepare
    from highnoon.data.bad_records import describe_left_out

    store = prepare(
        sources[0],
        tokenizer,
        folder,
        arguments.workers,
        arguments.validation_split,
        show_progress=sys.stderr.isatty(),
    )
    _report_cleaning(sources.pop(0))
    print(
        f"{folder}: {len(store):,} documents, {int(store.offsets[-1]):,} tokens, "
        f"{store.num_bytes.sum() / max(1, store.offsets[-1]):.2f} bytes a token"
    )
    if "left_out" in store.manifest:
        print(describe_left_out(store.manifest["left_out"]))


def _report_cleaning(source: DocumentSource, is_whole: bool = True) -> None:
    """Prints the report of a cleaned source; of unfinished work, only a report that exists already."""
    from highnoon.data.cleaning import CleanedSource, print_report

    if isinstance(source, CleanedSource) and (is_whole or source.is_read):
        print_report(source.report())


def _cleaned(sources: Sequence[DocumentSource], file: str) -> list[DocumentSource]:
    from highnoon.data.cleaning import CleanedSource, from_config
    from highnoon.files.foreign import ForeignDataError, read_yaml

    try:
        entries = read_yaml(file, expected=object)
    except ForeignDataError as error:
        raise ValueError(f"{file} is not a YAML list of cleaning steps: {error}; fix it") from None
    if not entries:
        raise ValueError(
            f"{file} has no cleaning steps; write a list, as in `- step: exact_duplicates`, "
            f"or leave out --clean"
        )
    steps = from_config(entries)
    return [CleanedSource(source, steps) for source in sources]


def store_folders(output: pathlib.Path, names: list[str]) -> list[pathlib.Path]:
    """Returns the folder of each store: `output` for one source, subfolders with their names for several.

    Raises:
        ValueError: two sources would be written to one folder.
    """
    if len(names) == 1:
        return [output]
    slugs = [re.sub(r"[^\w.-]+", "-", name).strip("-.") or "source" for name in names]
    if doubled := {slug for slug in slugs if slugs.count(slug) > 1}:
        raise ValueError(
            f"several sources would be written to {', '.join(sorted(doubled))} in {output}; "
            f"prepare them one by one"
        )
    return [output / slug for slug in slugs]


def _tokenizer(arguments: argparse.Namespace, sources: list[DocumentSource]) -> Tokenizer:
    from highnoon.data import train_tokenizer
    from highnoon.tokenization import load_tokenizer

    if arguments.tokenizer is not None:
        return load_tokenizer(arguments.tokenizer)
    print(f"training a tokenizer of {arguments.vocab_size} ids", file=sys.stderr)
    return train_tokenizer(sources, arguments.vocab_size, validation_split=arguments.validation_split)
