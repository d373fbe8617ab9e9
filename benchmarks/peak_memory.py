"""Peak memory of long attention and of the loss over a large vocabulary, compared with their plain forms.

    python benchmarks/peak_memory.py

Each case is one forward and backward pass in a process of its own; the figure is how far the process's peak
memory rises above what it was before, in MiB, with the seconds of the fastest of three later passes. The
plain forms hold all scores (heads x t x t) and all logits (tokens x vocabulary), and TensorFlow takes their
gradient. All are compiled by XLA, as in training.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from lib.peak_rise import peak_rise
from lib.report import write_report

HEADS, HEAD_DIM = 2, 64
TOKENS, WIDTH, VOCAB_SIZE = 16384, 256, 32768


def attention_case(length: int, is_chunked: bool) -> Callable[[], object]:
    import tensorflow as tf

    from highnoon.layers.attention.blockwise_attention import causal_attention

    query, key, value = (tf.random.normal((1, length, HEADS, HEAD_DIM)) for _ in range(3))

    def plain(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        scores = tf.einsum("bthk,bshk->bhts", query, key) * HEAD_DIM**-0.5
        positions = tf.range(length)
        scores = tf.where(positions[:, None] >= positions[None, :], scores, -1e30)
        return tf.einsum("bhts,bshk->bthk", tf.nn.softmax(scores), value)

    def chunked(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        return causal_attention(query[:, :, :, None], key, value)

    @tf.function(jit_compile=True)
    def gradients(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([query, key, value])
            loss = tf.reduce_sum((chunked if is_chunked else plain)(query, key, value) ** 2)
        return tape.gradient(loss, [query, key, value])

    compiled = gradients.get_concrete_function(query, key, value)
    return lambda: compiled(query, key, value)[0].numpy()


def loss_case(is_chunked: bool) -> Callable[[], object]:
    import tensorflow as tf

    from highnoon.layers import token_cross_entropy

    hidden, head = tf.random.normal((TOKENS, WIDTH)), tf.random.normal((VOCAB_SIZE, WIDTH)) * 0.05
    labels = tf.constant(np.random.default_rng(0).integers(0, VOCAB_SIZE, TOKENS), tf.int32)
    weights = tf.ones((TOKENS,))

    def plain(hidden: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
        logits = tf.matmul(hidden, head, transpose_b=True)
        return tf.reduce_sum(
            weights * tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )

    def chunked(hidden: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
        return token_cross_entropy(hidden, head, labels, weights, training=True)

    @tf.function(jit_compile=True)
    def gradients(hidden: tf.Tensor, head: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([hidden, head])
            loss = (chunked if is_chunked else plain)(hidden, head)
        return tape.gradient(loss, [hidden, head])

    compiled = gradients.get_concrete_function(hidden, head)
    return lambda: compiled(hidden, head)[0].numpy()


def cases(length: int) -> dict[str, Callable[[], Callable[[], object]]]:
    return {
        "attention_chunked": lambda: attention_case(length, is_chunked=True),
        "attention_plain": lambda: attention_case(length, is_chunked=False),
        "loss_chunked": lambda: loss_case(is_chunked=True),
        "loss_plain": lambda: loss_case(is_chunked=False),
    }


def measure_here(name: str, length: int) -> None:
    """Prints the rise of the peak in MiB and the seconds of the fastest of three later passes."""
    run = cases(length)[name]()
    rise = peak_rise(run) / 2**20
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    print(rise, min(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--length", type=int, default=16384)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure_here(arguments.one, arguments.length)
        return
    figures: dict[str, float] = {"attention_length": arguments.length, "loss_vocabulary": VOCAB_SIZE}
    for name in cases(arguments.length):
        command = [sys.executable, __file__, "--one", name, "--length", str(arguments.length)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        figures[f"{name}_mebibytes"], figures[f"{name}_seconds"] = float(printed[-2]), float(printed[-1])
    for kind in ("attention", "loss"):
        for unit in ("mebibytes", "seconds"):
            ratio = figures[f"{kind}_chunked_{unit}"] / figures[f"{kind}_plain_{unit}"]
            figures[f"{kind}_{unit}_chunked_over_plain"] = ratio
    write_report("peak_memory", figures)


if __name__ == "__main__":
    main()
