"""What a mixture of experts costs to train, compared with a dense network of its active size and with peers.

    python benchmarks/moe.py
    python benchmarks/moe.py --rounds 20

One training step (forward, backward, clipped AdamW) of a decoder of about 10M active parameters, 8
experts, top-2: HighNoon's, as a graph (tokens sorted by expert, dropless) and under XLA (blocks of static
shape, dropless); HighNoon's dense decoder, whose feed-forward is as wide as a token's two experts; and,
where they are installed, KerasHub's Mixtral (through the same compiled step) and Hugging Face's Mixtral,
all of one shape, on the same random batches in float32. Everyone steps once a round, so that a busy
moment of the machine strikes all alike. Figures are medians; the first step, with its compilation, is told
apart.
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

from highnoon.config import ModelConfig
from highnoon.models import LanguageModel, count_parameters
from highnoon.training.optimizers import AdamW
from highnoon.training.steps.step import TrainStep

Batch = dict[str, np.ndarray]
Step = Callable[[Batch], float]
LEARNING_RATE = 1e-4
AUX_LOSS_WEIGHT = 0.01


def shape_of(arguments: argparse.Namespace) -> ModelConfig:
    """Returns the mixture that all the others are made from."""
    return ModelConfig(
        vocab_size=arguments.vocab,
        embedding_dim=arguments.width,
        num_reasoning_blocks=arguments.layers,
        max_seq_length=arguments.length,
        num_heads=arguments.heads,
        num_kv_heads=arguments.heads,
        num_moe_experts=arguments.experts,
        num_experts_per_tok=2,
        expert_dim=arguments.expert_dim,
        ffn_dim=2 * arguments.expert_dim,
        tie_embeddings=False,
        aux_loss_weight=AUX_LOSS_WEIGHT,
        block_pattern="attention+moe",
    )


def batches_of(config: ModelConfig, rows: int, count: int) -> list[Batch]:
    """Returns random batches in the form of `TrainStep`."""
    rng = np.random.default_rng(0)
    shape = (rows, config.max_seq_length)
    return [
        {
            "token_ids": rng.integers(1, config.vocab_size, shape, dtype=np.int32),
            "labels": rng.integers(1, config.vocab_size, shape, dtype=np.int32),
            "loss_weights": np.ones(shape, np.float32),
            "segment_ids": np.ones(shape, np.int32),
            "positions": np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape).copy(),
        }
        for _ in range(count)
    ]


def keras_step(model: keras.Model, rows: int, jit_compile: bool) -> Step:
    """Returns HighNoon's compiled training step of any Keras model."""
    optimizer = AdamW(LEARNING_RATE)
    optimizer.build(model.trainable_variables)
    step = TrainStep(model, optimizer, rows, jit_compile=jit_compile)
    return lambda batch: float(step(batch)["loss"])


def our_model(config: ModelConfig, pattern: str) -> LanguageModel:
    """Returns HighNoon's decoder of one kind of residual pair."""
    return LanguageModel(**{**config.to_dict(), "block_pattern": pattern})


def keras_hub_model(config: ModelConfig) -> keras.Model:
    """Returns KerasHub's Mixtral of the shape."""
    from keras_hub.models import MixtralBackbone, MixtralCausalLM

    backbone = MixtralBackbone(
        vocabulary_size=config.vocab_size,
        num_layers=config.num_reasoning_blocks,
        num_query_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        hidden_dim=config.embedding_dim,
        intermediate_dim=config.expert_dim,
        num_experts=config.num_moe_experts,
        top_k=config.num_experts_per_tok,
        sliding_window=config.max_seq_length,
        router_aux_loss_coef=AUX_LOSS_WEIGHT,
    )
    return MixtralCausalLM(backbone=backbone, preprocessor=None)


def hugging_face_step(config: ModelConfig) -> tuple[Step, int]:
    """Returns a training step of Hugging Face's Mixtral of the shape, and its number of parameters."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    model = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.embedding_dim,
            intermediate_size=config.expert_dim,
            num_hidden_layers=config.num_reasoning_blocks,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            num_local_experts=config.num_moe_experts,
            num_experts_per_tok=config.num_experts_per_tok,
            max_position_embeddings=config.max_seq_length,
            output_router_logits=True,
            router_aux_loss_coef=AUX_LOSS_WEIGHT,
            use_cache=False,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)

    def step(batch: Batch) -> float:
        token_ids = torch.from_numpy(batch["token_ids"]).long()
        labels = torch.from_numpy(batch["labels"]).long()
        outputs = model(input_ids=token_ids)
        loss = torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        (loss + AUX_LOSS_WEIGHT * outputs.aux_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step, sum(parameter.numel() for parameter in model.parameters())


def all_steps(config: ModelConfig, rows: int, with_peers: bool) -> tuple[dict[str, Step], dict[str, int]]:
    """Returns everyone's training step, and how many parameters each holds."""
    models = {
        "highnoon dense": our_model(config, "transformer"),
        "highnoon experts": our_model(config, "attention+moe"),
    }
    if with_peers:
        models["keras_hub mixtral"] = keras_hub_model(config)
    steps, sizes = {}, {}
    for name, model in models.items():
        for form, jit_compile in (("graph", False), ("xla", True)):
            steps[f"{name}, {form}"] = keras_step(model, rows, jit_compile)
            sizes[f"{name}, {form}"] = model.count_params()
    if with_peers and all(map(importlib.util.find_spec, ("torch", "transformers"))):
        name = "transformers mixtral"
        steps[name], sizes[name] = hugging_face_step(config)
    return steps, sizes


def seconds_a_step(
    steps: dict[str, Step], batches: list[Batch], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns everyone's median step, and first step, in seconds."""
    first = {name: _seconds(step, batches[0]) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name, step in steps.items():
            times[name].append(_seconds(step, batches[number % len(batches)]))
    return {name: statistics.median(values) for name, values in times.items()}, first


def _seconds(step: Step, batch: Batch) -> float:
    start = time.perf_counter()
    loss = step(batch)
    elapsed = time.perf_counter() - start
    if not np.isfinite(loss):
        raise RuntimeError(f"expected a finite loss; received {loss}")
    return elapsed


def ratios_of(medians: dict[str, float]) -> dict[str, float]:
    """Returns the ratios that matter, each side in its faster form."""

    def fastest(start: str) -> float | None:
        return min((value for name, value in medians.items() if name.startswith(start)), default=None)

    ours, dense = fastest("highnoon experts"), fastest("highnoon dense")
    ratios = {"highnoon experts: step over dense of equal active size": ours / dense}
    for peer in ("keras_hub mixtral", "transformers mixtral"):
        if theirs := fastest(peer):
            ratios[f"highnoon experts: speed over {peer}"] = theirs / ours
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--heads", type=int, default=5)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--expert-dim", type=int, default=512)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()

    config = shape_of(arguments)
    batches = batches_of(config, arguments.rows, count=4)
    steps, sizes = all_steps(config, arguments.rows, with_peers=not arguments.no_peers)
    medians, first = seconds_a_step(steps, batches, arguments.rounds)
    figures: dict[str, object] = {
        **vars(arguments),
        "active parameters": count_parameters(config, active=True),
        "tokens a step": arguments.rows * arguments.length,
    }
    for name, median in medians.items():
        figures[f"{name}: parameters"] = sizes[name]
        figures[f"{name}: tokens a second"] = arguments.rows * arguments.length / median
        figures[f"{name}: first step, seconds"] = first[name]
    for name in ("highnoon experts", "highnoon dense", "keras_hub mixtral"):
        forms = [median for form, median in medians.items() if form.startswith(name)]
        if forms:
            figures[f"{name}, faster form: tokens a second"] = arguments.rows * arguments.length / min(forms)
    write_report("moe", {**figures, **ratios_of(medians)})


if __name__ == "__main__":
    main()
