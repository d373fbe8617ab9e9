"""Shows the first documents of any data, with the text that is not supervised in brackets.

  highnoon data inspect chats.jsonl
  highnoon data inspect prepared/ --documents 3

Documents are as training reads them: records in their template, conversations in the chat template. Of a
prepared folder its tokenizer, size and split are shown first.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from highnoon.cli.data_actions.reading_options import (
    add_reading_options,
    given_reading_options,
    open_with_options,
)
from highnoon.config import ConfigError, require_count, require_path

if TYPE_CHECKING:
    from highnoon.data import Document, TokenStore

SUMMARY = "show the first documents of any data, and what of them is supervised"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="DIR|SOURCE", help="a prepared folder, or a source as for `prepare`"
    )
    parser.add_argument(
        "--documents",
        type=int,
        default=2,
        metavar="K",
        help="documents to show, with text that is not supervised in ⟦brackets⟧ (default: %(default)s)",
    )
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from highnoon.data.sources.prepared_tokens import is_prepared
    from highnoon.files.terminal_console import TerminalConsole

    require_count("--documents", arguments.documents, least=0)
    require_path("SOURCE", arguments.source)
    if is_prepared(arguments.source):
        if given := list(given_reading_options(arguments)):
            raise ConfigError(
                f"{arguments.source} is already prepared, and --{given[0].replace('_', '-')} is for reading "
                "text; leave it out"
            )
        shown = _stored_documents(arguments.source, arguments.documents)
    else:
        shown = _read_documents(arguments)
    console = TerminalConsole()
    for title, text in shown:
        console.print(f"\n--- {title}", soft_wrap=True)
        console.print(text, soft_wrap=True)
    return 0


def _stored_documents(folder: str, most: int) -> Iterator[tuple[str, str]]:
    """Prints what a prepared folder is, and yields the title and text of its first documents."""
    from highnoon.data import TokenStore
    from highnoon.data.bad_records import describe_left_out

    store = TokenStore.open(folder)
    manifest = store.manifest
    held_out = int(store.is_validation.sum())
    facts = {
        "source": manifest["source"],
        "key": manifest["key"],
        "format": manifest["version"],
        "tokenizer": manifest["tokenizer"],
        "documents": f"{len(store):,}, {held_out:,} held out ({store.validation_split:.0%} requested)",
        "tokens": f"{int(store.offsets[-1]):,} of {manifest['token_type']}",
        "domains": ", ".join(store.domain_names),
        "size": f"{sum(manifest['sizes'].values()) / 1e6:,.1f} MB",
        "supervised": "all tokens" if store.all_supervised is None else "the tokens that learned.bin marks",
    }
    if "left_out" in manifest:
        facts["skipped"] = describe_left_out(manifest["left_out"])
    for name, value in facts.items():
        print(f"{name:10} {value}")
    for number in range(min(most, len(store))):
        side = "held out" if store.is_validation[number] else "train"
        title = f"document {number}, {store.domain(number)}, {side}, {int(store.lengths[number]):,} tokens"
        yield title, stored_document(store, number)


def _read_documents(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yields the title and text of the first documents of a source."""
    source = open_with_options(arguments.source, arguments)
    documents: Iterator[Document] = itertools.islice(source.documents(), arguments.documents)
    for number, document in enumerate(documents):
        supervised = _supervised_part(document)
        yield (
            f"document {number}, {document.location or document.id}, {document.domain}, "
            f"{len(document.text):,} characters, {supervised} supervised",
            marked_text(document.text, document.supervised),
        )


def _supervised_part(document: Document) -> str:
    if document.supervised is None:
        return "all"
    num_supervised = sum(stop - start for start, stop in document.supervised)
    return f"{num_supervised / len(document.text):.0%}"


def stored_document(store: TokenStore, number: int, most_characters: int = 2000) -> str:
    """Returns the text of a prepared document as `marked_text` does."""
    from highnoon.data.sources.prepared_tokens import stored_text

    text, spans, _ = stored_text(store, number)
    return marked_text(text, spans, most_characters)


def marked_text(text: str, spans: Any, most_characters: int = 2000) -> str:
    """Returns a text, truncated, with what is not supervised in ⟦brackets⟧.

    Args:
        text: Of a document.
        spans: Its supervised spans of characters; None for all of it.
        most_characters: Of the result.
    """
    marked, position = "", 0
    for begin, end in ((0, len(text)),) if spans is None else spans:
        marked += (f"⟦{text[position:begin]}⟧" if position < begin else "") + text[begin:end]
        position = end
    marked += f"⟦{text[position:]}⟧" if position < len(text) else ""
    return marked if len(marked) <= most_characters else f"{marked[:most_characters]} ..."
