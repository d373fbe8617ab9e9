"""A training step of a dense decoder of ten million parameters, compared with the same network elsewhere.

    python benchmarks/training_step.py

Everyone takes AdamW steps in float32 on the same batches of 8 rows of 256 tokens: this package's step as
it comes and without XLA, KerasHub's Llama under XLA, and Hugging Face's Llama in PyTorch, plain and with
torch.compile, where they are installed. They take turns; figures are medians over the rounds. The first
step, compilation counted, is given apart; imports and the making of the model are not counted in it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from lib.report import write_report

import highnoon as hn
from highnoon.training.optimizers import AdamW
from highnoon.training.steps.step import TrainStep

VOCAB_SIZE, WIDTH, LAYERS, HEADS, FFN = 8192, 320, 6, 5, 864
ROWS, LENGTH = 8, 256

Step = Callable[[np.ndarray], float]


def highnoon_step(jit_compile: bool | None) -> Step:
    model = hn.LanguageModel(
        vocab_size=VOCAB_SIZE,
        embedding_dim=WIDTH,
        num_reasoning_blocks=LAYERS,
        num_heads=HEADS,
        ffn_dim=FFN,
        max_seq_length=LENGTH,
        block_pattern="attention+mlp",
    )
    optimizer = AdamW(1e-3)
    optimizer.build(model.trainable_variables)
    step = TrainStep(model, optimizer, micro_batch_size=ROWS, jit_compile=jit_compile)
    positions = np.tile(np.arange(LENGTH, dtype="int32"), (ROWS, 1))

    def run(ids: np.ndarray) -> float:
        batch = {
            "token_ids": ids[:, :-1],
            "labels": ids[:, 1:],
            "loss_weights": np.ones((ROWS, LENGTH), "float32"),
            "segment_ids": np.ones((ROWS, LENGTH), "int32"),
            "positions": positions,
        }
        return float(step(batch)["loss"])

    return run


def keras_hub_step() -> Step:
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
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-3, global_clipnorm=1.0),
        jit_compile=True,
        weighted_metrics=[],
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    mask = np.ones((ROWS, LENGTH), "int32")

    def run(ids: np.ndarray) -> float:
        return float(model.train_on_batch({"token_ids": ids[:, :-1], "padding_mask": mask}, ids[:, 1:]))

    return run


def torch_step(is_compiled: bool) -> Step:
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=WIDTH,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        tie_word_embeddings=True,
        use_cache=False,
    )
    model = transformers.LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    forward = torch.compile(model) if is_compiled else model

    def run(ids: np.ndarray) -> float:
        tokens = torch.from_numpy(ids).long()
        optimizer.zero_grad()
        logits = forward(input_ids=tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, VOCAB_SIZE), tokens[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss)

    return run


def entrants() -> dict[str, Callable[[], Step]]:
    """Returns who takes part, to be made one after the other."""
    makers: dict[str, Callable[[], Step]] = {
        "highnoon": lambda: highnoon_step(jit_compile=None),
        "highnoon_graph": lambda: highnoon_step(jit_compile=False),
        "keras_hub_xla": keras_hub_step,
    }
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        makers["torch"] = lambda: torch_step(is_compiled=False)
        makers["torch_compile"] = lambda: torch_step(is_compiled=True)
    return makers


def seconds_of(step: Step, ids: np.ndarray) -> float:
    began = time.perf_counter()
    step(ids)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="steps in a row in one turn")
    parser.add_argument("--only", nargs="+", help="names to take part")
    arguments = parser.parse_args()
    ids = np.random.default_rng(0).integers(7, VOCAB_SIZE, (ROWS, LENGTH + 1)).astype("int32")
    figures: dict[str, float] = {"rounds": arguments.rounds}
    steps: dict[str, Step] = {}
    for name, make in entrants().items():
        if arguments.only and name not in arguments.only:
            continue
        steps[name] = make()
        figures[f"{name}_first_step_seconds"] = seconds_of(steps[name], ids)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            taken[name].append(sum(seconds_of(step, ids) for _ in range(arguments.steps)) / arguments.steps)
    for name, seconds in taken.items():
        figures[f"{name}_tokens_per_second"] = ROWS * LENGTH / statistics.median(seconds)
    for name in steps:
        ratio = figures["highnoon_tokens_per_second"] / figures[f"{name}_tokens_per_second"]
        figures[f"highnoon_over_{name}"] = ratio
    write_report("training_step", figures)


if __name__ == "__main__":
    main()
