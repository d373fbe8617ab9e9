"""Tokens a second of decoding: this package's models, and KerasHub's and Hugging Face's where installed.

    python benchmarks/decoding.py --batch-sizes 1 8 --new-tokens 256 --rounds 5

Every model has about ten million parameters in float32 (of the mixture of experts, that many act on one
token) and random weights, continues prompts of 32 tokens greedily, and never meets an end token. They
take turns, so that a busy moment of the machine meets all of them; figures are medians over the rounds.
The first call, which compiles, is given apart.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np
from report import write_report

import highnoon as hn
from highnoon.inference import generate

VOCAB_SIZE, WIDTH, LAYERS, HEADS, FFN, PROMPT = 8192, 320, 6, 5, 864, 32

Generate = Callable[[np.ndarray, int], object]


def highnoon_model(feed_forward: str) -> tuple[int, Generate]:
    model = hn.HSMN(
        vocab_size=VOCAB_SIZE, embedding_dim=WIDTH, num_reasoning_blocks=LAYERS, num_heads=HEADS, ffn_dim=FFN,
        num_moe_experts=8, num_experts_per_tok=2, max_seq_length=1024,
        block_pattern=f"attention+{feed_forward}",
    )
    return model.count_params(), lambda ids, count: generate(model, ids, max_length=count, temperature=0)


def keras_hub_llama() -> tuple[int, Generate]:
    from keras_hub.models import LlamaBackbone, LlamaCausalLM

    backbone = LlamaBackbone(
        vocabulary_size=VOCAB_SIZE, num_layers=LAYERS, num_query_heads=HEADS, num_key_value_heads=HEADS,
        hidden_dim=WIDTH, intermediate_dim=FFN, tie_word_embeddings=True,
    )
    model = LlamaCausalLM(backbone, preprocessor=None)
    model.compile(sampler="greedy")

    def run(ids: np.ndarray, count: int) -> object:
        # KerasHub takes rows that are already as long as the result, and a mask of what is prompt.
        room = ((0, 0), (0, count))
        inputs = {"token_ids": np.pad(ids, room), "padding_mask": np.pad(np.ones_like(ids), room)}
        return model.generate(inputs, stop_token_ids=None)

    return model.count_params(), run


def hugging_face_llama() -> tuple[int, Generate]:
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=VOCAB_SIZE, hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, tie_word_embeddings=True, eos_token_id=None,
    )
    model = transformers.LlamaForCausalLM(config).eval()

    def run(ids: np.ndarray, count: int) -> object:
        with torch.inference_mode():
            return model.generate(
                torch.from_numpy(ids).long(), max_new_tokens=count, do_sample=False, pad_token_id=0
            )

    return sum(weight.numel() for weight in model.parameters()), run


def entrants() -> dict[str, tuple[int, Generate]]:
    """Returns the parameters of each model and how it generates."""
    models = {
        "highnoon_dense": highnoon_model("mlp"),
        "highnoon_moe": highnoon_model("moe"),
        "keras_hub_llama": keras_hub_llama(),
    }
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        models["hugging_face_llama"] = hugging_face_llama()
    return models


def seconds_of(run: Generate, ids: np.ndarray, count: int) -> float:
    began = time.perf_counter()
    run(ids, count)
    return time.perf_counter() - began


def measure(runs: dict[str, Generate], batch_size: int, new_tokens: int, rounds: int) -> dict[str, float]:
    """Returns tokens a second and seconds of the first call for each model."""
    ids = np.random.default_rng(0).integers(7, VOCAB_SIZE, (batch_size, PROMPT), np.int32)
    figures = {
        f"{name}_batch_{batch_size}_first_call_seconds": seconds_of(run, ids, new_tokens)
        for name, run in runs.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds_of(run, ids, new_tokens))
    for name, seconds in taken.items():
        rate = batch_size * new_tokens / statistics.median(seconds)
        figures[f"{name}_batch_{batch_size}_tokens_per_second"] = rate
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    models = entrants()
    figures: dict[str, float] = {f"{name}_parameters": size for name, (size, _) in models.items()}
    figures |= {"new_tokens": arguments.new_tokens, "rounds": arguments.rounds}
    runs = {name: run for name, (_, run) in models.items()}
    for batch_size in arguments.batch_sizes:
        figures |= measure(runs, batch_size, arguments.new_tokens, arguments.rounds)
    write_report("decoding", figures)


if __name__ == "__main__":
    main()
