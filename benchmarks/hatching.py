"""What BDH and its spiking form cost, compared with transformers of equal parameters and of equal operations.

    python benchmarks/hatching.py
    python benchmarks/hatching.py --peer bdh.py

A training step at the size of `hatching-nano`: seconds, and by how much the process's peak memory rises from
before the model is made until three steps are taken, each model in a process of its own. Decoding: `generate`
of 512 tokens with the cache, compared with a pass over the whole prefix for each token, of which every 32nd
length is timed and stands for those next to it. Forward and backward pass of one small layer in chunks, at
lengths of 1,024 to 16,384; the exponent is that of time against length, by least squares. Seconds are those
of the fastest of some rounds, which other work on the machine changes least.
`--peer` is the file `bdh.py` of github.com/pathwaycom/bdh; it
needs PyTorch and decodes as published, with the same weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from lib.hatching_arms import hatching_arms
from lib.peak_rise import peak_rise

import highnoon as hn
from highnoon.models.costs import flops_per_token

DECODED, STRIDE = 512, 32
LENGTHS = (1024, 2048, 4096, 8192, 16384)


def measure_step(name: str, rows: int, length: int, rounds: int) -> None:
    """Prints the rise of memory by a model, its compilation and its training, and the seconds of a step."""
    import tensorflow as tf

    from highnoon.training.optimizers import AdamW
    from highnoon.training.steps.step import TrainStep

    config = hatching_arms(length=length)[name]
    ids = np.random.default_rng(0).integers(7, config.vocab_size, (rows, length + 1)).astype("int32")
    batch = {
        "token_ids": ids[:, :-1],
        "labels": ids[:, 1:],
        "loss_weights": np.ones((rows, length), "float32"),
        "segment_ids": np.ones((rows, length), "int32"),
        "positions": np.tile(np.arange(length, dtype="int32"), (rows, 1)),
    }
    tf.matmul(tf.ones((8, 8)), tf.ones((8, 8)))  # the threads of TensorFlow are no model's
    steps: list[Any] = []

    def begin() -> None:
        model = hn.create_model(config)
        optimizer = AdamW(1e-3)
        optimizer.build(model.trainable_variables)
        steps.append(TrainStep(model, optimizer, micro_batch_size=rows))
        for _ in range(3):
            float(steps[0](batch)["loss"])

    rise = peak_rise(begin)
    print(rise, fastest_seconds(lambda: float(steps[0](batch)["loss"]), rounds))


def fastest_seconds(run: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def step_figures(rows: int, length: int, rounds: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, config in hatching_arms(length=length).items():
        words = ["--one", name, "--rows", str(rows), "--length", str(length), "--rounds", str(rounds)]
        command = [sys.executable, __file__, *words]
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        rise, seconds = map(float, printed.split()[-2:])
        figures |= {
            f"{name}_parameters": hn.models.count_parameters(config),
            f"{name}_mflops_per_token": flops_per_token(config, length) / 1e6,
            f"{name}_step_seconds": seconds,
            f"{name}_step_mebibytes": rise / 2**20,
        }
        print(name, f"{seconds:.3f} s a step, {rise / 2**20:,.0f} MiB", flush=True)
    return figures


def decoding_figures(peer: str | None) -> dict[str, float]:
    """Returns the seconds of 512 tokens through `hatching-nano`, and how many times as long prefixes take."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    config = hatching_arms(length=DECODED)["bdh"]
    model = hn.create_model(config)

    def cached() -> None:
        model.generate([[7]], max_length=DECODED, top_k=1)

    whole = hn.create_model(config, block_pattern="bdh(multiplier=32, form=quadratic)")
    whole.set_weights(model.get_weights())
    passes = tf.function(
        lambda ids: whole(ids, training=False)[:, -1], input_signature=[tf.TensorSpec((1, None), tf.int32)]
    )

    def recomputed() -> None:
        for length in range(STRIDE // 2, DECODED, STRIDE):
            passes(tf.ones((1, length), tf.int32)).numpy()

    for run in (cached, recomputed):
        run()
    seconds = {
        "cached": fastest_seconds(cached, 3),
        "recomputed": STRIDE * fastest_seconds(recomputed, 3),
    }
    if peer:
        seconds["published"] = STRIDE * published_seconds(peer, config)
    figures = {f"decode_512_{name}_seconds": value for name, value in seconds.items()}
    for name in set(seconds) - {"cached"}:
        figures[f"decode_512_{name}_over_cached"] = seconds[name] / seconds["cached"]
    return figures


def published_seconds(path: str, config: hn.ModelConfig) -> float:
    """Returns the seconds of one pass of the published model at every 32nd length."""
    import torch

    spec = importlib.util.spec_from_file_location("peer_bdh", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["peer_bdh"] = module
    spec.loader.exec_module(module)
    heads = config.resolved_num_heads
    model = module.BDH(
        module.BDHConfig(config.num_reasoning_blocks, config.embedding_dim, 0.0, heads, 32, config.vocab_size)
    ).eval()

    def passes() -> None:
        with torch.no_grad():
            for length in range(STRIDE // 2, DECODED, STRIDE):
                model(torch.ones((1, length), dtype=torch.long))

    passes()
    return fastest_seconds(passes, 3)


def length_figures(rounds: int) -> dict[str, float]:
    """Returns the seconds of forward and backward pass of one layer of 64 features and 1,024 neurons."""
    import tensorflow as tf

    from highnoon.layers.hatching import BDHLayer

    layer = BDHLayer(num_heads=4, multiplier=16, form="chunked", chunk_length=128)
    layer.build((1, None, 64))
    variables = [variable.value for variable in layer.trainable_variables]

    @tf.function(jit_compile=True)
    def gradients(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(layer(x)[0]))
        return tape.gradient(loss, [x, *variables])

    figures = {}
    for length in LENGTHS:
        x = tf.random.stateless_normal((1, length, 64), seed=(0, length))
        gradients(x)
        figures[f"chunks_{length}_seconds"] = fastest_seconds(lambda x=x: gradients(x)[0].numpy(), rounds)
    slope = np.polyfit([math.log(length) for length in LENGTHS], np.log(list(figures.values())), 1)[0]
    return {**figures, "exponent_of_length": float(slope)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", help="the published bdh.py")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure_step(arguments.one, arguments.rows, arguments.length, arguments.rounds)
        return
    from lib.report import write_report

    figures: dict[str, Any] = {"rows": arguments.rows, "length": arguments.length}
    figures |= length_figures(arguments.rounds)
    figures |= decoding_figures(arguments.peer)
    figures |= step_figures(arguments.rows, arguments.length, arguments.rounds)
    write_report("hatching", figures)


if __name__ == "__main__":
    main()
