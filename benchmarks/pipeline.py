"""Tokens a second that packed rows give to a step that does nothing, and how soon a large set starts.

    python benchmarks/pipeline.py --rounds 5

Rows of 1,024 tokens of the embedded corpus, in shuffled order, in batches of 8 and of 64; medians over the
rounds. `packing_efficiency` is the fraction of the slots of rows that hold tokens.

The large set has a billion tokens in two million documents of drawn lengths. Its tokens are a sparse file,
which takes no disk; its columns are real. `start` runs from `TokenStore.open` to the first batch, once as the
first of a new process and once more within it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from lib.report import write_report

from highnoon.data import PackedRows, StandardLibrary, TokenStore, tokenize, train_tokenizer
from highnoon.data.tokens.token_store import COLUMNS, MANIFEST_FILE, STORE_VERSION, TOKENS_FILE
from highnoon.tokenization import ByteTokenizer

ROW_LENGTH, BATCH_SIZES = 1024, (8, 64)


def tokens_a_second(rows: PackedRows, batch_size: int, epoch: int) -> float:
    view = rows.view(epoch)
    began = time.perf_counter()
    tokens = 0
    for start in range(0, view.num_rows, batch_size):
        tokens += int(np.count_nonzero(view.read(start, batch_size)["segment_ids"]))
    return tokens / (time.perf_counter() - began)


def embedded(folder: pathlib.Path, rounds: int) -> dict[str, float]:
    source = StandardLibrary()
    rows = PackedRows(tokenize(source, train_tokenizer(source, 8192, 8_000_000), folder), ROW_LENGTH)
    figures: dict[str, float] = {
        "row_length": ROW_LENGTH,
        "documents": rows.num_documents,
        "tokens": rows.num_tokens,
        "packing_efficiency": rows.report()["efficiency"],
    }
    for size in BATCH_SIZES:
        figures[f"tokens_a_second_batch_{size}"] = statistics.median(
            tokens_a_second(rows, size, epoch) for epoch in range(rounds)
        )
    return figures


def write_large(folder: pathlib.Path, num_tokens: int, num_documents: int) -> None:
    """Writes a store whose tokens are a hole in a file."""
    draw = np.random.default_rng(0)
    lengths = draw.geometric(num_documents / num_tokens, num_documents) + 2
    columns = {
        "lengths.bin": lengths,
        "num_bytes.bin": lengths * 4,
        "split_hashes.bin": draw.integers(0, 1 << 64, num_documents, np.uint64),
        "domains.bin": np.zeros(num_documents),
    }
    for name, values in columns.items():
        (folder / name).write_bytes(values.astype(COLUMNS[name]).tobytes())
    with (folder / TOKENS_FILE).open("wb") as stream:
        stream.truncate(2 * int(lengths.sum()))
    tokenizer = ByteTokenizer()
    tokenizer.save(folder)
    (folder / MANIFEST_FILE).write_text(
        json.dumps(
            {
                "version": STORE_VERSION,
                "key": "large",
                "source": "large",
                "documents": num_documents,
                "tokenizer": repr(tokenizer),
                "tokenizer_file": "tokenizer.json",
                "tokenizer_fingerprint": tokenizer.fingerprint(),
                "token_type": "<u2",
                "domain_names": ["default"],
                "validation_split": 0.1,
                "sizes": {path.name: path.stat().st_size for path in folder.iterdir()},
            }
        )
    )


def start_seconds(folder: pathlib.Path) -> float:
    began = time.perf_counter()
    PackedRows(TokenStore.open(folder), ROW_LENGTH).view(0).read(0, BATCH_SIZES[0])
    return time.perf_counter() - began


def large(folder: pathlib.Path, num_tokens: int, num_documents: int) -> dict[str, float]:
    write_large(folder, num_tokens, num_documents)
    printed = subprocess.run(
        [sys.executable, __file__, "--start", str(folder)], check=True, capture_output=True, text=True
    ).stdout
    return {
        "large_tokens": num_tokens,
        "large_documents": num_documents,
        "large_start_seconds_new_process": float(printed),
        "large_start_seconds": start_seconds(folder),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=1_000_000_000, help="of the large set")
    parser.add_argument("--documents", type=int, default=2_000_000, help="of the large set")
    parser.add_argument("--start", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        return print(start_seconds(arguments.start))
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as big:
        figures = embedded(pathlib.Path(small), arguments.rounds)
        figures |= large(pathlib.Path(big), arguments.tokens, arguments.documents)
    write_report("pipeline", figures)


if __name__ == "__main__":
    main()
