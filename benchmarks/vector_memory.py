"""What a memory of training text gains on held-out documents, and what a search in it takes.

    python benchmarks/vector_memory.py --steps 600 --documents 150
    python benchmarks/vector_memory.py --data path/to/text.jsonl --steps 400 --documents 300 --held-out 0.03

A small decoder is trained on the documentation of Python's standard library, or on `--data`. Its memory holds
the states of `--documents` training documents. Weights and temperature are chosen on every second held-out
document; the losses are those of the others, with the memory, with the document's earlier tokens, and with
both. Times are medians of searches of 64 states, by exact search and, where faiss-cpu is installed, by FAISS
comparing all vectors or those of some lists.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import io
import pathlib
import statistics
import tempfile
import time
from typing import Any

import keras
import numpy as np
from lib.report import write_report

import highnoon as hn
from highnoon.data import PackedRows, StandardLibrary, TokenStore, open_source, tokenize
from highnoon.experts.memory_evaluation import CACHE_WEIGHTS, evaluate_memory
from highnoon.experts.memory_stores import DOCUMENT_NUMBERS
from highnoon.experts.vector_memory import VectorMemory
from highnoon.tokenization import ByteTokenizer
from highnoon.vectors import FaissIndex, VectorIndex

ROW_LENGTH = 128
MODEL = {
    "block_pattern": "attention+mlp",
    "num_reasoning_blocks": 2,
    "embedding_dim": 64,
    "num_heads": 2,
    "max_seq_length": ROW_LENGTH,
}
QUERIES, ROUNDS, NEIGHBORS = 64, 20, 64


def train(source: Any, tokenizer: ByteTokenizer, steps: int, held_out: float) -> Any:
    keras.utils.set_random_seed(0)
    model = hn.create_model("highnoon-nano", vocab_size=tokenizer.vocab_size, **MODEL)
    options = {"batch_size": 16, "max_seq_length": ROW_LENGTH, "learning_rate": 3e-3, "warmup_steps": 20}
    trainer = hn.Trainer(model, tokenizer=tokenizer, seed=0, validation_split=held_out, **options)
    trainer.add_curriculum_stage("all", source, steps=steps)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train(log_dir=None, save_checkpoints=False, verbose=False)
    return trainer.model


def build(model: Any, store: TokenStore, folder: pathlib.Path, num_documents: int) -> VectorMemory:
    """A memory of all documents, of which those after the first `num_documents` are removed again."""
    memory = VectorMemory.build(model, store, folder, ROW_LENGTH, batch_size=32)
    memory.remove_documents(np.unique(memory.index.groups)[num_documents:].tolist())
    return memory


def losses(model: Any, memory: VectorMemory, rows: PackedRows) -> dict[str, float]:
    """Nats a token without and with the memory, the document's earlier tokens, and both."""
    evaluate = functools.partial(evaluate_memory, memory, model, rows, num_neighbors=NEIGHBORS)
    both = evaluate(cache_weights=CACHE_WEIGHTS)
    alone, own = evaluate(), evaluate(weights=(0.0,), cache_weights=CACHE_WEIGHTS)
    return {
        "held_out_tokens": both.num_tokens,
        "loss_without": both.loss_without,
        "loss_with_memory": alone.loss,
        "loss_with_earlier_tokens": own.loss,
        "loss_with_both": both.loss,
        "memory_weight": alone.mix.weight,
        "memory_temperature": alone.mix.temperature,
    }


def searches(memory: VectorMemory, queries: np.ndarray) -> dict[str, float]:
    """Milliseconds a query, and the fraction of the exact neighbors that lists find."""
    made = {"exact": VectorIndex}
    if importlib.util.find_spec("faiss") is not None:
        num_lists = max(1, int(len(memory) ** 0.5))
        made["faiss_flat"] = FaissIndex
        made["faiss_lists"] = functools.partial(FaissIndex, num_lists=num_lists, num_probes=8)
    indexes, figures = {}, {}
    for name, make in made.items():
        indexes[name] = make(memory.index.width, "l2")
        indexes[name].add(memory.index.ids, memory.index.vectors())
        indexes[name].search(queries, NEIGHBORS)  # FAISS divides the vectors at the first search
    seconds: dict[str, list[float]] = {name: [] for name in indexes}
    for _ in range(ROUNDS):
        for name, index in indexes.items():
            began = time.perf_counter()
            index.search(queries, NEIGHBORS)
            seconds[name].append(time.perf_counter() - began)
    exact = indexes["exact"].search(queries, NEIGHBORS).ids.tolist()
    for name, index in indexes.items():
        found = index.search(queries, NEIGHBORS).ids.tolist()
        figures[f"{name}_ms_per_query"] = 1000 * statistics.median(seconds[name]) / len(queries)
        figures[f"{name}_recall"] = float(
            np.mean([len({*a} & {*b}) / len({*b}) for a, b in zip(found, exact, strict=True)])
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a name or path of text; default: Python's documentation")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--documents", type=int, default=150)
    parser.add_argument("--held-out", type=float, default=0.1, help="the fraction of documents held out")
    arguments = parser.parse_args()
    source = open_source(arguments.data) if arguments.data else StandardLibrary(("docs",))
    tokenizer = ByteTokenizer()
    with tempfile.TemporaryDirectory() as folder:
        model = train(source, tokenizer, arguments.steps, arguments.held_out)
        store = tokenize(
            source, tokenizer, pathlib.Path(folder, "cache"), validation_split=arguments.held_out
        )
        memory = build(model, store, pathlib.Path(folder, "memory"), arguments.documents)
        rows = memory.rows(store, ROW_LENGTH)
        figures: dict[str, Any] = {"steps": arguments.steps, "stored_tokens": len(memory)}
        figures |= losses(model, memory, rows)
        batch = rows.view(0).read(0, 4)
        assert DOCUMENT_NUMBERS in batch
        states = memory.reader(model).states(batch).reshape(-1, memory.index.width)[:QUERIES]
        figures |= searches(memory, states)
    write_report("vector_memory", figures)


if __name__ == "__main__":
    main()
