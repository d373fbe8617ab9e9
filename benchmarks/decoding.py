"""Tokens a second of decoding: this package's models, and KerasHub's and Hugging Face's where installed.

    python benchmarks/decoding.py --batch-sizes 1 8 --new-tokens 256 --rounds 5

Every model has about ten million parameters in float32 (of the mixture of experts, that many act on one
token) and random weights, continues prompts of 32 tokens greedily, and never meets an end token. They
take turns, so that a busy moment of the machine meets all of them; figures are medians over the rounds.
The first call, which compiles, is given apart.

Speculative decoding is measured on the dense model, one row, against plain decoding in turns with it: with
look-up in greedy text, which random weights soon repeat (the best case), with look-up in drawn text,
which repeats nothing (the worst), and with the model's own first layer as the draft. A recurrent model is
timed after short and long contexts.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np
from lib.report import write_report

import highnoon as hn
from highnoon.inference import SpeculativeGenerator, generate
from highnoon.inference.request import Request

VOCAB_SIZE, WIDTH, LAYERS, HEADS, FFN, PROMPT = 8192, 320, 6, 5, 864, 32

PARTS = ["plain", "speculative", "contexts"]

Generate = Callable[[np.ndarray, int], object]


def own_model(pattern: str, layers: int = LAYERS) -> hn.LanguageModel:
    return hn.LanguageModel(
        vocab_size=VOCAB_SIZE,
        embedding_dim=WIDTH,
        num_reasoning_blocks=layers,
        num_heads=HEADS,
        ffn_dim=FFN,
        num_moe_experts=8,
        num_experts_per_tok=2,
        max_seq_length=1024,
        block_pattern=pattern,
    )


def highnoon_model(feed_forward: str) -> tuple[int, Generate]:
    model = own_model(f"attention+{feed_forward}")
    return model.count_params(), lambda ids, count: generate(model, ids, max_length=count, temperature=0)


def keras_hub_llama() -> tuple[int, Generate]:
    from keras_hub.models import LlamaBackbone, LlamaCausalLM

    backbone = LlamaBackbone(
        vocabulary_size=VOCAB_SIZE,
        num_layers=LAYERS,
        num_query_heads=HEADS,
        num_key_value_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=FFN,
        tie_word_embeddings=True,
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
        vocab_size=VOCAB_SIZE,
        hidden_size=WIDTH,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        tie_word_embeddings=True,
        eos_token_id=None,
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


def first_layer_of(model: hn.LanguageModel) -> hn.LanguageModel:
    """Returns a model of one block with the weights that `model` has in its first, its embedding and norm."""
    draft = own_model(model.config.block_pattern, layers=1)
    own = {weight.path: weight for weight in model.backbone.weights}
    for weight in draft.backbone.weights:
        weight.assign(own[weight.path])
    return draft


def measure_speculative(new_tokens: int, rounds: int) -> dict[str, float]:
    """Returns acceptance, tokens a pass, and the rate of speculative over that of plain decoding."""
    target = own_model("attention+mlp")
    ids = np.random.default_rng(0).integers(7, VOCAB_SIZE, (1, PROMPT), np.int32)
    cases = {
        "look_up_greedy": (None, {"temperature": 0}),
        "look_up_drawn": (None, {"temperature": 1.0, "top_k": 0, "seed": 0}),
        "first_layer_greedy": (first_layer_of(target), {"temperature": 0}),
        "first_layer_drawn": (first_layer_of(target), {"temperature": 1.0, "top_k": 0, "seed": 0}),
    }
    figures: dict[str, float] = {}
    for name, (draft, options) in cases.items():
        generator = SpeculativeGenerator(target, draft, acceptance_rate_target=None)
        runs: dict[str, Generate] = {
            "plain": lambda ids, count, o=options: generate(target, ids, max_length=count, **o),
            "speculative": lambda ids, count, g=generator, o=options: g.generate(ids, max_length=count, **o),
        }
        taken: dict[str, list[float]] = {run: [] for run in runs}
        for _ in range(rounds + 1):
            for run in runs:
                taken[run].append(seconds_of(runs[run], ids, new_tokens))
        plain, speculative = (statistics.median(seconds[1:]) for seconds in taken.values())
        figures |= {
            f"speculative_{name}_acceptance": generator.acceptance_rate,
            f"speculative_{name}_tokens_per_pass": generator.tokens_per_pass,
            f"speculative_{name}_over_plain": plain / speculative,
        }
    return figures


def measure_contexts(contexts: list[int], new_tokens: int, rounds: int) -> dict[str, float]:
    """Returns milliseconds a token and bytes of the cache of a recurrent model, by its context."""
    model = own_model("mamba2+mlp")
    drawings = {}
    for length in contexts:
        ids = np.random.default_rng(0).integers(7, VOCAB_SIZE, length).tolist()
        request = Request.read(model, ids, max_length=8 + rounds * new_tokens, temperature=0)
        drawings[length] = request.start([0], 1)
        drawings[length].advance(8)  # compiles
    taken: dict[int, list[float]] = {length: [] for length in contexts}
    for _ in range(rounds):
        for length, drawing in drawings.items():
            began = time.perf_counter()
            drawing.advance(new_tokens)
            taken[length].append(time.perf_counter() - began)
    figures: dict[str, float] = {}
    for length, drawing in drawings.items():
        milliseconds = 1000 * statistics.median(taken[length]) / new_tokens
        figures[f"mamba2_context_{length}_ms_per_token"] = milliseconds
        figures[f"mamba2_context_{length}_cache_bytes"] = drawing.cache_bytes
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contexts", type=int, nargs="*", default=[1_000, 100_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    arguments = parser.parse_args()
    figures: dict[str, float] = {"new_tokens": arguments.new_tokens, "rounds": arguments.rounds}
    if "plain" in arguments.parts:
        models = entrants()
        figures |= {f"{name}_parameters": size for name, (size, _) in models.items()}
        runs = {name: run for name, (_, run) in models.items()}
        for batch_size in arguments.batch_sizes:
            figures |= measure(runs, batch_size, arguments.new_tokens, arguments.rounds)
    if "speculative" in arguments.parts:
        figures |= measure_speculative(arguments.new_tokens, arguments.rounds)
    if "contexts" in arguments.parts:
        figures |= measure_contexts(arguments.contexts, arguments.new_tokens, arguments.rounds)
    is_whole = arguments.parts == PARTS
    write_report("decoding" if is_whole else "decoding_" + "_".join(arguments.parts), figures)


if __name__ == "__main__":
    main()
