"""Megabytes of text a second that byte-level BPE encodes: this package, `tiktoken` and `tokenizers`.

    python benchmarks/tokenizers_compared.py --megabytes 32 --rounds 5

All three have the same vocabulary, trained on the embedded corpus, and encode the corpus of `preparation.py`,
whose words change from copy to copy, in batches of about a megabyte, to arrays of ids. Their ids are compared
first. They take turns on one core and on two, each process with half of the text; figures are medians over
the rounds, by the clock and by the processor's time, which a busy machine distorts less. `tiktoken` is left
out, with a message, where it is not installed.

The committed result is of the commit before `tiktoken` replaced the package's own encoder; since then, `own`
is `tiktoken` and what the package adds to it.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import multiprocessing
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
from lib.report import write_report
from preparation import VOCAB_SIZE, write_corpus

Encode = Callable[[list[str]], np.ndarray]

_BATCH_CHARACTERS = 1_000_000
_WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def own(folder: pathlib.Path) -> Encode:
    from highnoon.tokenization import load_tokenizer

    tokenizer = load_tokenizer(folder / "tokenizer")
    return lambda texts: tokenizer.encode_packed(texts)[0]


def with_tokenizers(folder: pathlib.Path) -> Encode:
    from tokenizers import Tokenizer

    engine = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    return lambda texts: _joined(
        encoding.ids for encoding in engine.encode_batch_fast(texts, add_special_tokens=False)
    )


def with_tiktoken(folder: pathlib.Path) -> Encode:
    import tiktoken

    from highnoon.tokenization.byte_pair.byte_alphabet import token_to_bytes
    from highnoon.tokenization.special_tokens import FIRST_BYTE_ID

    vocab = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"][
        "vocab"
    ]
    ranks = {
        token_to_bytes(token): token_id - FIRST_BYTE_ID
        for token, token_id in vocab.items()
        if token_id >= FIRST_BYTE_ID
    }
    encoding = tiktoken.Encoding("peer", pat_str=_WORDS, mergeable_ranks=ranks, special_tokens={})
    return lambda texts: _joined(map(encoding.encode_ordinary, texts)) + np.int32(FIRST_BYTE_ID)


def _joined(rows) -> np.ndarray:
    return np.fromiter(itertools.chain.from_iterable(rows), np.int32)


ENTRANTS = {"own": own, "tiktoken": with_tiktoken, "tokenizers": with_tokenizers}


def batches_of(folder: pathlib.Path, part: int, num_parts: int) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    size = 0
    with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            batches[-1].append(json.loads(line)["text"])
            size += len(batches[-1][-1])
            if size >= _BATCH_CHARACTERS:
                batches.append([])
                size = 0
    return [batch for batch in batches if batch][part::num_parts]


def work(folder: pathlib.Path, part: int, num_parts: int, connection) -> None:
    """Runs in a process: encodes its part of the text by each entrant that it receives, and sends the times.

    An entrant is made again for each round, so that no cache of words helps it.
    """
    batches = batches_of(folder, part, num_parts)
    warm_up = ["The quick brown fox jumps over the lazy dog. " * 200]
    for name in iter(connection.recv, ""):
        encode = ENTRANTS[name](folder)
        encode(warm_up)
        connection.send("ready")
        connection.recv()
        began, used = time.time(), time.process_time()
        for batch in batches:
            encode(batch)
        connection.send((began, time.time(), time.process_time() - used))


def rates(folder: pathlib.Path, names: list[str], num_processes: int, rounds: int) -> dict[str, float]:
    num_bytes = sum(len(text.encode()) for batch in batches_of(folder, 0, 1) for text in batch)
    context = multiprocessing.get_context("spawn")
    connections, processes = [], []
    for part in range(num_processes):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(folder, part, num_processes, there))
        process.start()
        connections.append(here)
        processes.append(process)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            for command in (name, "go"):
                for connection in connections:
                    connection.send(command)
                answers = [connection.recv() for connection in connections]
            began, ended, used = zip(*answers, strict=True)
            taken[name].append((max(ended) - min(began), sum(used)))
    for connection, process in zip(connections, processes, strict=True):
        connection.send("")
        process.join()
    figures = {}
    for name in names:
        for index, unit in enumerate(("second", "cpu_second")):
            seconds = statistics.median(times[index] for times in taken[name])
            figures[f"{name}_{num_processes}_processes_megabytes_a_{unit}"] = num_bytes / 1e6 / seconds
    return figures


def require_equal_ids(folder: pathlib.Path, names: list[str]) -> int:
    """Returns the number of tokens, after checking that all entrants give the same."""
    encoders = [ENTRANTS[name](folder) for name in names]
    num_tokens = 0
    for batch in batches_of(folder, 0, 1):
        expected, *others = [encode(batch) for encode in encoders]
        if not all(np.array_equal(expected, ids) for ids in others):
            raise SystemExit(f"{', '.join(names)} do not give the same ids")
        num_tokens += len(expected)
    return num_tokens


def compare(folder: pathlib.Path, megabytes: float, rounds: int) -> dict[str, float]:
    from highnoon.data import StandardLibrary, train_tokenizer

    names = list(ENTRANTS)
    if importlib.util.find_spec("tiktoken") is None:
        print("tiktoken is not installed and is left out: pip install tiktoken")
        names.remove("tiktoken")
    train_tokenizer(StandardLibrary(), VOCAB_SIZE, max_bytes=8_000_000).save(folder / "tokenizer")
    write_corpus(folder / "corpus.jsonl", int(megabytes * 1e6))
    figures: dict[str, float] = {"vocab_size": VOCAB_SIZE, "megabytes": megabytes, "rounds": rounds}
    figures["tokens"] = require_equal_ids(folder, names)
    for num_processes in (1, 2):
        figures |= rates(folder, names, num_processes, rounds)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=32, help="text to encode")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_report(
            "tokenizers_compared", compare(pathlib.Path(folder), arguments.megabytes, arguments.rounds)
        )


if __name__ == "__main__":
    main()
