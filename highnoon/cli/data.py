"""Prepares text once, and shows what it holds.

  highnoon data prepare my_texts/ --output prepared/ --vocab-size 8192
  highnoon data inspect prepared/ --documents 3
  highnoon data stats my_texts/
  highnoon data contamination my_texts/ --against benchmark.jsonl
  highnoon data replay runs/first --step 1200

A preparation that is stopped or killed goes on when the same command is given again. Several sources make
one store each, in folders of their names below --output, all with one tokenizer, so that a run can mix them
by weight.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
from typing import TYPE_CHECKING, Any

from highnoon.cli import data_contamination, data_replay

if TYPE_CHECKING:
    from highnoon.data import DocumentSource
    from highnoon.tokenization import Tokenizer

SUMMARY = "tokenise text into a folder, and look at what is there"

DEFAULT_VOCAB_SIZE = 8192
ACTIONS: dict[str, Any] = {"contamination": data_contamination, "replay": data_replay}


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    prepare = actions.add_parser("prepare", help="tokenise sources into a folder")
    prepare.add_argument("sources", nargs="+", metavar="SOURCE", help="files, folders, globs, dataset names")
    prepare.add_argument("--output", required=True, metavar="DIR", help="new folder, or one to go on in")
    tokenizer = prepare.add_mutually_exclusive_group()
    tokenizer.add_argument("--tokenizer", metavar="PATH", help="tokenizer.json, or a folder that holds one")
    tokenizer.add_argument("--vocab-size", type=int, default=DEFAULT_VOCAB_SIZE, metavar="N",
                           help="train a tokenizer of N ids on the sources (default: %(default)s)")
    prepare.add_argument("--workers", type=int, metavar="N", help="processes; by default one a core")
    prepare.add_argument("--validation-split", type=float, default=0.1, metavar="S",
                         help="share of documents to hold out (default: %(default)s)")
    prepare.add_argument("--no-check-ids", action="store_true", help="let several rows have one `id`")
    prepare.add_argument("--clean", metavar="FILE", help="YAML list of cleaning steps; the report is printed")
    _add_reading(prepare)
    inspect = actions.add_parser("inspect", help="show a prepared folder and documents of it")
    inspect.add_argument("folder", metavar="DIR")
    inspect.add_argument("--documents", type=int, default=2, metavar="K", help="documents to show, what is "
                         "only read and not learnt in brackets (default: %(default)s)")
    stats = actions.add_parser("stats", help="count documents, bytes, tokens, domains and duplicates")
    stats.add_argument("source", metavar="DIR|SOURCE", help="a prepared folder, or what `prepare` takes")
    stats.add_argument("--json", action="store_true", help="print JSON")
    _add_reading(stats)
    for name, action in ACTIONS.items():
        parser = actions.add_parser(name, help=action.SUMMARY, description=action.__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
        action.configure(parser)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip-bad", action="store_true", help="pass over what cannot be read, and count it")
    parser.add_argument("--split", metavar="HOW", help="how text files are cut: auto, file, line, blank-line")
    parser.add_argument("--domains", metavar="A,B", help="read these domains only")


def run(arguments: argparse.Namespace) -> int | None:
    if arguments.action in ACTIONS:
        return ACTIONS[arguments.action].run(arguments)
    {"prepare": run_prepare, "inspect": run_inspect, "stats": run_stats}[arguments.action](arguments)
    return None


def run_prepare(arguments: argparse.Namespace) -> None:
    from highnoon.data import prepare
    from highnoon.data.bad_rows import describe_left_out
    from highnoon.data.cleaning import CleanedSource, print_report

    sources = [open_with_options(name, arguments) for name in arguments.sources]
    if arguments.clean:
        sources = [_cleaned(source, arguments.clean) for source in sources]
    output = pathlib.Path(arguments.output)
    folders = store_folders(output, [source.name for source in sources])
    tokenizer = _tokenizer(arguments, sources)
    try:
        for source, folder in zip(sources, folders, strict=True):
            store = prepare(source, tokenizer, folder, arguments.workers, arguments.validation_split,
                            show_progress=sys.stderr.isatty())
            if isinstance(source, CleanedSource):
                print_report(source.report())
            print(f"{folder}: {len(store):,} documents, {int(store.offsets[-1]):,} tokens, "
                  f"{store.num_bytes.sum() / max(1, store.offsets[-1]):.2f} bytes a token")
            if "left_out" in store.manifest:
                print(describe_left_out(store.manifest["left_out"]))
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop).replace("the same call", "the same command")) from None
    print(f"\nNext:\n  highnoon data inspect {folders[0]}\n  highnoon data stats {folders[0]}")


def _cleaned(source: DocumentSource, file: str) -> DocumentSource:
    import yaml

    from highnoon.data.cleaning import CleanedSource, from_config

    return CleanedSource(source, from_config(yaml.safe_load(pathlib.Path(file).read_text(encoding="utf-8"))))


def store_folders(output: pathlib.Path, names: list[str]) -> list[pathlib.Path]:
    """Returns the folder of each source's store: `output` for one, folders of their names for several.

    Raises:
        ValueError: two sources would share a folder.
    """
    if len(names) == 1:
        return [output]
    slugs = [re.sub(r"[^\w.-]+", "-", name).strip("-.") or "source" for name in names]
    if doubled := {slug for slug in slugs if slugs.count(slug) > 1}:
        raise ValueError(f"several sources would be written to {', '.join(sorted(doubled))} in {output}; "
                         f"prepare them one by one")
    return [output / slug for slug in slugs]


def open_with_options(name: str, arguments: argparse.Namespace) -> DocumentSource:
    """Opens a source as --split, --skip-bad and --domains say."""
    from highnoon.data import open_source

    options: dict[str, Any] = {}
    if arguments.split:
        options["split"] = arguments.split
    if arguments.skip_bad:
        options["skip_bad"] = True
    if not getattr(arguments, "no_check_ids", True):
        options["check_ids"] = True
    if domains := [domain.strip() for domain in (arguments.domains or "").split(",") if domain.strip()]:
        options["domains"] = domains
    return open_source(name, **options)


def _tokenizer(arguments: argparse.Namespace, sources: list[DocumentSource]) -> Tokenizer:
    from highnoon.data import train_tokenizer
    from highnoon.tokenization import load_tokenizer

    if arguments.tokenizer:
        return load_tokenizer(arguments.tokenizer)
    print(f"learning a tokenizer of {arguments.vocab_size} ids", file=sys.stderr)
    return train_tokenizer(sources, arguments.vocab_size, validation_split=arguments.validation_split)


def run_inspect(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from highnoon.data import TokenStore
    from highnoon.data.bad_rows import describe_left_out

    store = TokenStore.open(arguments.folder)
    manifest = store.manifest
    held_out = int(store.is_validation.sum())
    facts = {
        "source": manifest["source"], "key": manifest["key"], "format": manifest["version"],
        "tokenizer": manifest["tokenizer"],
        "documents": f"{len(store):,}, of them {held_out:,} held out ({store.validation_split:.0%} asked)",
        "tokens": f"{int(store.offsets[-1]):,} of {manifest['token_type']}",
        "domains": ", ".join(store.domain_names),
        "size": f"{sum(manifest['sizes'].values()) / 1e6:,.1f} MB",
        "learnt": "every token" if store.all_learned is None else "the tokens that learned.bin marks",
    }
    if "left_out" in manifest:
        facts["left out"] = describe_left_out(manifest["left_out"])
    for name, value in facts.items():
        print(f"{name:10} {value}")
    console = Console(highlight=False, markup=False)
    for number in range(min(arguments.documents, len(store))):
        side = "held out" if store.is_validation[number] else "train"
        console.print(f"\n--- document {number}, {store.domain(number)}, {side}, "
                      f"{int(store.lengths[number]):,} tokens")
        console.print(marked_text(store, number), soft_wrap=True)


def marked_text(store: Any, document: int, most_characters: int = 2000) -> str:
    """Returns a document's text, what is only read in ⟦brackets⟧, cut where it is long."""
    from highnoon.data.prepared_tokens import text_and_stretches

    text, stretches = text_and_stretches(store, document)
    marked, place = "", 0
    for begin, end in ((0, len(text)),) if stretches is None else stretches:
        marked += (f"⟦{text[place:begin]}⟧" if place < begin else "") + text[begin:end]
        place = end
    marked += f"⟦{text[place:]}⟧" if place < len(text) else ""
    return marked if len(marked) <= most_characters else f"{marked[:most_characters]} ..."


def run_stats(arguments: argparse.Namespace) -> None:
    from highnoon.data import TokenStore
    from highnoon.data.prepared_tokens import is_prepared
    from highnoon.data.statistics import source_statistics, store_statistics

    if is_prepared(arguments.source):
        if given := [name for name in ("split", "skip_bad", "domains") if getattr(arguments, name)]:
            raise ValueError(f"{arguments.source} is prepared already, and --{given[0].replace('_', '-')} is "
                             f"for reading text; leave it out")
        figures = store_statistics(TokenStore.open(arguments.source))
    else:
        figures = source_statistics(open_with_options(arguments.source, arguments))
    if arguments.json:
        print(json.dumps(figures.as_dict()))
    else:
        from highnoon.cli.data_tables import print_statistics

        print_statistics(figures)
