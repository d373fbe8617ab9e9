"""Megabytes of text a second from JSON lines to a finished token store, and the memory that it takes.

    python benchmarks/preparation.py --gigabytes 0.5 --workers 2

The corpus is written to a temporary folder by a formula: the embedded corpus over and over, in which each
copy changes one word in 40 to a new one and gives one document in four accents, so that no cache has
seen it all. The tokenizer is trained before the clock starts, on the
embedded corpus. The figure runs from a new process's first line to the finished store, fingerprint of the
file, start of the processes and last sync included. Peak memory is the proportional set size (PSS) of the
process and its children, sampled five times a second.

The peer is Hugging Face `tokenizers` as it comes: the same tokenizer, the same file read with `json`, batches
of 1,000 documents through `encode_batch_fast` on all cores, ids written with NumPy; no hash, no split. It
reads the first `--peer-megabytes` of the file.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
from lib.report import write_report

VOCAB_SIZE = 8192
_ACCENTS = str.maketrans("eau", "éàü")
_SAMPLE_SECONDS = 0.2


def write_corpus(path: pathlib.Path, num_bytes: int) -> int:
    """Writes JSON lines of about `num_bytes` of text; returns the exact count."""
    from highnoon.data import StandardLibrary

    documents = [document.text for document in StandardLibrary().documents()]
    chooser = random.Random(0)
    written = 0
    with path.open("w", encoding="utf-8") as stream:
        while written < num_bytes:
            for text in documents:
                words = text.split(" ")
                for index in range(chooser.randrange(40), len(words), 40):
                    words[index] = f"{words[index]}{chooser.getrandbits(20):x}"
                noisy = " ".join(words)
                if chooser.random() < 0.25:
                    noisy = noisy.translate(_ACCENTS)
                stream.write(json.dumps({"text": noisy}, ensure_ascii=False) + "\n")
                written += len(noisy.encode())
                if written >= num_bytes:
                    break
    return written


def run_own(folder: pathlib.Path, workers: int) -> None:
    from highnoon.data import Files, prepare
    from highnoon.tokenization import load_tokenizer

    tokenizer = load_tokenizer(folder / "tokenizer")
    store = prepare(Files(folder / "corpus.jsonl"), tokenizer, folder / "store", num_workers=workers)
    print(json.dumps({"bytes": int(store.num_bytes.sum()), "tokens": int(store.offsets[-1])}))


def run_peer(folder: pathlib.Path, megabytes: float) -> None:
    from tokenizers import Tokenizer

    engine = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    num_bytes = tokens = 0
    corpus = folder / "corpus.jsonl"
    with (folder / "peer.bin").open("wb") as target, corpus.open(encoding="utf-8") as source:
        for texts in _text_batches(source):
            for encoding in engine.encode_batch_fast(texts, add_special_tokens=False):
                ids = np.array(encoding.ids, np.uint16)
                target.write(ids.tobytes())
                tokens += len(ids)
            num_bytes += sum(len(text.encode()) for text in texts)
            if num_bytes >= megabytes * 1e6:
                break
    print(json.dumps({"bytes": num_bytes, "tokens": tokens}))


def _text_batches(lines: Iterator[str], size: int = 1000) -> Iterator[list[str]]:
    held: list[str] = []
    for line in lines:
        held.append(json.loads(line)["text"])
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held


def measured(role: str, folder: pathlib.Path, *options: str) -> dict[str, float]:
    """Runs this script in that role as a process of its own: MB a second and peak MB."""
    command = [sys.executable, __file__, "--role", role, "--folder", str(folder), *options]
    began, used = time.perf_counter(), _cpu_seconds_of_children()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peaks = [0.0]
    sampler = threading.Thread(target=_sample, args=(process.pid, peaks))
    sampler.start()
    printed, _ = process.communicate()
    seconds = time.perf_counter() - began
    sampler.join()
    if process.returncode:
        raise SystemExit(f"{role} ended with exit code {process.returncode}")
    result = json.loads(printed)
    return {
        "megabytes": result["bytes"] / 1e6,
        "tokens": result["tokens"],
        "seconds": seconds,
        "megabytes_a_second": result["bytes"] / 1e6 / seconds,
        "megabytes_a_cpu_second": result["bytes"] / 1e6 / (_cpu_seconds_of_children() - used),
        "peak_megabytes": peaks[0] / 1e6,
    }


def _cpu_seconds_of_children() -> float:
    """Processor time of all processes that have ended: what a busy machine does not distort."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sample(pid: int, peaks: list[float]) -> None:
    while psutil.pid_exists(pid):
        total = 0
        try:
            root = psutil.Process(pid)
            if root.status() == psutil.STATUS_ZOMBIE:
                return
            for process in [root, *root.children(recursive=True)]:
                total += process.memory_full_info().pss
        except psutil.Error:
            # A process that ends while it is looked at is counted with the next sample.
            total = 0
        peaks[0] = max(peaks[0], float(total))
        time.sleep(_SAMPLE_SECONDS)


def stages(folder: pathlib.Path, megabytes: float) -> dict[str, float]:
    """MB of text a second of each stage by itself, in one process."""
    from highnoon.data import Files
    from highnoon.data.preparation.fill_store import document_batches
    from highnoon.data.tokens.encoding import encode_batch
    from highnoon.data.tokens.splitting import split_hash
    from highnoon.tokenization import load_tokenizer

    source, tokenizer = Files(folder / "corpus.jsonl"), load_tokenizer(folder / "tokenizer")
    batches, size = [], 0
    began = time.perf_counter()
    for batch in document_batches(source.documents()):
        batches.append([document.text for document in batch])
        size += sum(len(text.encode()) for text in batches[-1])
        if size >= megabytes * 1e6:
            break
    figures = {"stage_read_megabytes_a_second": size / 1e6 / (time.perf_counter() - began)}
    work: dict[str, Callable[[int], object]] = {
        "encode": lambda number: tokenizer.encode_packed(batches[number]),
        "encode_hash_and_frame": lambda number: encode_batch(
            batches[number], [None] * len(batches[number]), tokenizer
        ),
        "split_hash": lambda number: [split_hash(text) for text in batches[number]],
    }
    for name, run in work.items():
        began = time.perf_counter()
        for number in range(len(batches)):
            run(number)
        figures[f"stage_{name}_megabytes_a_second"] = size / 1e6 / (time.perf_counter() - began)
    began = time.perf_counter()
    source.fingerprint()
    file_bytes = (folder / "corpus.jsonl").stat().st_size
    figures["stage_fingerprint_megabytes_a_second"] = file_bytes / 1e6 / (time.perf_counter() - began)
    return figures


def compare(folder: pathlib.Path, arguments: argparse.Namespace) -> dict[str, float]:
    from highnoon.data import StandardLibrary, train_tokenizer

    train_tokenizer(StandardLibrary(), VOCAB_SIZE, max_bytes=8_000_000).save(folder / "tokenizer")
    write_corpus(folder / "corpus.jsonl", int(arguments.gigabytes * 1e9))
    figures: dict[str, float] = {"vocab_size": VOCAB_SIZE, "workers": arguments.workers}
    own = measured("own", folder, "--workers", str(arguments.workers))
    figures |= {f"own_{name}": value for name, value in own.items()}
    if arguments.peer_megabytes:
        peer = measured("peer", folder, "--peer-megabytes", str(arguments.peer_megabytes))
        figures |= {f"peer_{name}": value for name, value in peer.items()}
        figures["own_over_peer"] = own["megabytes_a_second"] / peer["megabytes_a_second"]
    return figures | stages(folder, min(arguments.gigabytes * 1000, 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.5, help="text to prepare")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that tokenise")
    parser.add_argument("--peer-megabytes", type=float, default=64, help="text for the peer, 0 for none")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work; a temporary folder by default")
    roles = ["compare", "own", "peer"]
    parser.add_argument("--role", choices=roles, default="compare", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "own":
        return run_own(arguments.folder, arguments.workers)
    if arguments.role == "peer":
        return run_peer(arguments.folder, arguments.peer_megabytes)
    parent = arguments.folder or pathlib.Path(tempfile.gettempdir())
    # The text, its tokens, and the peer's.
    needed, free = int(arguments.gigabytes * 2.2e9), shutil.disk_usage(parent).free
    if free < needed:
        raise SystemExit(f"{needed / 1e9:.1f} GB of disk needed in {parent}, {free / 1e9:.1f} free")
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        write_report("preparation", compare(pathlib.Path(folder), arguments))


if __name__ == "__main__":
    main()
