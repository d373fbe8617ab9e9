"""What one mixer layer costs, forward and backward, compared with PyTorch.

    python benchmarks/mixers.py
    python benchmarks/mixers.py --lengths 1024 4096 16384 65536 --mixers mamba2 --memory

Every layer has the same width and runs under XLA, on one row of each length. Peers that are
installed (torch, transformers, mambapy) run in the same process, one round of everyone after the
other, so that a busy moment of the machine strikes all alike. Figures are medians, in tokens a
second; the exponent is that of time against length between the two longest rows. `--memory` runs
each mixer once more in a process of its own and notes how far its peak memory rises.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from lib.peak_rise import peak_rise
from lib.report import write_report

from highnoon.layers.attention.causal_self_attention import CausalSelfAttention
from highnoon.layers.attention.latent_attention import LatentAttention
from highnoon.layers.recurrence.gated_delta_rule import GatedDeltaRule
from highnoon.layers.recurrence.selective_state_space import SelectiveStateSpace
from highnoon.layers.recurrence.state_space_duality import StateSpaceDuality

HEADS = 6
Step = Callable[[], object]


def mixers(width: int) -> dict[str, Callable[[], keras.Layer]]:
    """Returns the layers to be timed, of about the same size."""
    head = width // HEADS
    return {
        "attention": lambda: CausalSelfAttention(HEADS),
        "latent_attention": lambda: LatentAttention(
            HEADS, kv_lora_rank=2 * head, qk_nope_head_dim=head, qk_rope_head_dim=head // 2, v_head_dim=head
        ),
        "mamba": SelectiveStateSpace,
        "mamba2": StateSpaceDuality,
        "gated_delta_rule": lambda: GatedDeltaRule(HEADS, key_head_dim=head, value_head_dim=2 * head),
    }


def our_step(layer: keras.Layer, width: int, length: int) -> Step:
    """Returns one compiled pass forward and backward, by the input and every weight."""
    x = tf.random.normal((1, length, width))
    layer.build(x.shape)
    variables = [variable.value for variable in layer.trainable_variables]

    @tf.function(jit_compile=True)
    def gradients(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(layer(x, training=True)))
        return tape.gradient(loss, [x, *variables])

    return lambda: gradients(x)[0].numpy()


def peer_steps(width: int, length: int) -> dict[str, Step]:
    """Returns the same pass of the layers of PyTorch and transformers that are installed."""
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = torch.nn.Linear(width, 3 * width, bias=False)
            self.output = torch.nn.Linear(width, width, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heads = self.qkv(x).view(1, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
            mixed = torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
            return self.output(mixed.transpose(1, 2).reshape(1, length, width))

    modules: dict[str, torch.nn.Module] = {"torch attention": Attention()}
    if importlib.util.find_spec("transformers") is not None:
        modules |= _transformers_mixers(width, length)
    return {name: _torch_step(module, width, length) for name, module in modules.items()}


def _transformers_mixers(width: int, length: int) -> dict[str, object]:
    from transformers import Mamba2Config, MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    logging.getLogger("transformers").setLevel(logging.ERROR)
    found: dict[str, object] = {}
    for chunk in (64, 256):
        config = Mamba2Config(
            hidden_size=width,
            num_heads=2 * width // 64,
            head_dim=64,
            n_groups=1,
            chunk_size=chunk,
            num_hidden_layers=1,
        )
        found[f"transformers mamba2, chunks of {chunk}"] = Mamba2Mixer(config, layer_idx=0)
    if length <= 256:  # a Python loop over time: half a minute a pass at 1,024
        config = MambaConfig(hidden_size=width, num_hidden_layers=1)
        found["transformers mamba"] = MambaMixer(config, layer_idx=0)
    if importlib.util.find_spec("mambapy") is not None and length <= 4096:
        config = MambaConfig(hidden_size=width, num_hidden_layers=1, use_mambapy=True)
        found["transformers mamba, mambapy"] = MambaMixer(config, layer_idx=0)
    return found


def _torch_step(module, width: int, length: int) -> Step:  # type: ignore[no-untyped-def]
    import torch

    x = torch.randn(1, length, width, requires_grad=True)

    def step() -> object:
        x.grad = None
        module.zero_grad()
        module(x).square().sum().backward()
        return x.grad

    return step


def tokens_a_second(steps: dict[str, Step], length: int, rounds: int) -> dict[str, dict[str, float]]:
    """Times everyone once a round; the first call, with its compilation, is told apart."""
    first, times = {}, {name: [] for name in steps}
    for name, step in steps.items():
        first[name] = _seconds(step)
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(_seconds(step))
    return {
        name: {"tokens_a_second": length / statistics.median(times[name]), "first_call_seconds": first[name]}
        for name in steps
    }


def _seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def peak_mebibytes(name: str, width: int, length: int) -> float:
    """Runs one mixer in a process of its own and returns how far a pass raises its peak memory."""
    command = [sys.executable, __file__, "--one", name, "--width", str(width), "--lengths", str(length)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _print_rise(name: str, width: int, length: int) -> None:
    step = our_step(mixers(width)[name](), width, length)
    step()
    print(peak_rise(step) / 2**20)


def _exponent(values: dict[int, float]) -> float:
    (short, less), (long, more) = sorted(values.items())[-2:]
    return math.log(more / less) / math.log(long / short)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024, 4096, 16384])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mixers", nargs="+", default=list(mixers(384)), choices=list(mixers(384)))
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        _print_rise(arguments.one, arguments.width, arguments.lengths[0])
        return

    figures: dict[str, object] = {"width": arguments.width, "rounds": arguments.rounds}
    by_name: dict[str, dict[int, float]] = {}
    for length in arguments.lengths:
        layers = mixers(arguments.width)
        steps = {
            f"highnoon {name}": our_step(layers[name](), arguments.width, length) for name in arguments.mixers
        }
        if not arguments.no_peers:
            steps |= peer_steps(arguments.width, length)
        for name, figure in tokens_a_second(steps, length, arguments.rounds).items():
            by_name.setdefault(name, {})[length] = figure["tokens_a_second"]
            figures[f"{name}, {length}: tokens a second"] = figure["tokens_a_second"]
            figures[f"{name}, {length}: first call, seconds"] = figure["first_call_seconds"]
        base = by_name.get("torch attention", {}).get(length)
        for name, speeds in by_name.items():
            if base and length in speeds and name != "torch attention":
                figures[f"{name}, {length}: speed over torch attention"] = speeds[length] / base
        for ours, theirs in (
            ("mamba2", "transformers mamba2, chunks of 64"),
            ("mamba2", "transformers mamba2, chunks of 256"),
            ("mamba", "transformers mamba"),
            ("mamba", "transformers mamba, mambapy"),
        ):
            mine, other = by_name.get(f"highnoon {ours}", {}), by_name.get(theirs, {})
            if length in mine and length in other:
                figures[f"highnoon {ours}, {length}: speed over {theirs}"] = mine[length] / other[length]
    for name, speeds in by_name.items():
        if len(speeds) > 1:
            seconds = {length: length / speed for length, speed in speeds.items()}
            figures[f"{name}: exponent of time"] = _exponent(seconds)
    if arguments.memory:
        for name in arguments.mixers:
            rises = {length: peak_mebibytes(name, arguments.width, length) for length in arguments.lengths}
            for length, rise in rises.items():
                figures[f"highnoon {name}, {length}: peak memory, MiB"] = rise
            if len(rises) > 1 and min(rises.values()) > 0:
                figures[f"highnoon {name}: exponent of memory"] = _exponent(rises)
    write_report("mixers", figures)


if __name__ == "__main__":
    main()
