"""Memory and tokens a second of a quantized model, compared with float32 in the same run.

    python benchmarks/quantized_decoding.py --batch-sizes 1 8 --new-tokens 128 --rounds 5

A dense model and a mixture of experts continue prompts of 32 tokens greedily, in float32, in int8, in int8
with float activations, and in int4 (the dense one). The forms of a model take turns, so that a busy moment
of the machine meets all of them; figures are medians over the rounds, after a first call that compiles.
Memory is that of the weights.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import keras
import numpy as np
from lib.report import write_report

import highnoon as hn
from highnoon.inference import generate

SHAPE = {
    "vocab_size": 8192,
    "embedding_dim": 320,
    "num_reasoning_blocks": 6,
    "num_heads": 5,
    "ffn_dim": 864,
    "num_moe_experts": 8,
    "num_experts_per_tok": 2,
    "max_seq_length": 1024,
}
PROMPT = 32
WEIGHTS_ALONE = keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)
FORMS: dict[str, dict[str, dict[str, Any] | None]] = {
    "mlp": {
        "float32": None,
        "int8": {"mode": "int8"},
        "int8_weights": {"config": WEIGHTS_ALONE},
        "int4": {"mode": "int4"},
    },
    "moe": {"float32": None, "int8": {"mode": "int8"}},
}


def make(feed_forward: str, quantization: dict[str, Any] | None) -> hn.LanguageModel:
    keras.utils.set_random_seed(0)
    model = hn.LanguageModel(**SHAPE, block_pattern=f"attention+{feed_forward}")
    if quantization is not None:
        model.quantize(**quantization)
    return model


def weight_bytes(model: hn.LanguageModel) -> int:
    return sum(np.asarray(weight.value).nbytes for weight in model.weights)


def measure(feed_forward: str, batch_sizes: list[int], count: int, rounds: int) -> dict[str, float]:
    """Returns the figures of every form of a model, under the name of its feed-forward."""
    models = {name: make(feed_forward, how) for name, how in FORMS[feed_forward].items()}
    figures = {
        f"{feed_forward}_{name}_weights_mib": weight_bytes(model) / 2**20 for name, model in models.items()
    }
    for rows in batch_sizes:
        ids = np.random.default_rng(0).integers(3, SHAPE["vocab_size"], (rows, PROMPT))
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for turn in range(rounds + 1):
            for name, model in models.items():
                began = time.perf_counter()
                generate(model, ids, max_length=count, temperature=0)
                if turn:  # the first call compiles
                    seconds[name].append(time.perf_counter() - began)
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        for name, median in medians.items():
            key = f"{feed_forward}_{name}_batch_{rows}"
            figures[f"{key}_tokens_per_second"] = rows * count / median
            figures[f"{key}_time_over_float32"] = median / medians["float32"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    figures: dict[str, float] = {"new_tokens": arguments.new_tokens, "rounds": arguments.rounds}
    for feed_forward in FORMS:
        figures |= measure(feed_forward, arguments.batch_sizes, arguments.new_tokens, arguments.rounds)
    write_report("quantized_decoding", figures)


if __name__ == "__main__":
    main()
