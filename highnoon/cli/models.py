"""Lists the presets: parameters, what a token costs, memory to run and to train, and learning rate.

  highnoon models
  highnoon models --show highnoon-nano

FLOPs: of forward and backward pass for one token, in rows of full length. To run: weights and the cache of
one sequence of full length. To train: weights, gradients and the optimizer's two moments; activations, which
grow with the batch, come on top, so that a machine to train on has about twice as much, or room for one row.
The learning rate is that of runs that give none. With --show, the layers of one of them.
"""

from __future__ import annotations

import argparse
import json
import math

from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.config import PRESETS, ConfigError, ModelConfig, get_preset_config

SUMMARY = "list the presets with their size and the memory they need"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the table as JSON, memory in bytes")
    parser.add_argument("--show", metavar="NAME", help="print the layers of this preset, without building it")


def run(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    from highnoon.models.costs import flops_per_token
    from highnoon.models.memory import available_memory, cache_bytes, model_table

    if arguments.show is not None:
        _show(arguments.show)
        return
    table = model_table()
    presets = {name: get_preset_config(name) for name in PRESETS}
    rates = {name: preset.training.learning_rate for name, preset in presets.items()}
    flops = {name: flops_per_token(p.model, p.model.max_seq_length) for name, p in presets.items()}
    caches = {name: cache_bytes(preset.model) for name, preset in presets.items()}
    machines = {row.name: _machine(presets[row.name].model, row.bytes_to_train) for row in table}
    if arguments.json:
        rows = [
            {
                **row._asdict(),
                "learning_rate": float(rates[row.name]),
                "flops_per_token": flops[row.name],
                "cache_bytes": caches[row.name],
            }
            for row in table
        ]
        print(json.dumps(rows, indent=2))
        return
    heads = ("parameters", "used per token", "FLOPs", "cache", "to run", "to train", "machine", "rate")
    widths = (16, 16, 9, 11, 11, 11, 11, 9)
    print("preset".ljust(16) + "".join(head.rjust(width) for head, width in zip(heads, widths, strict=True)))
    for row in table:
        cells = (
            f"{row.total:,}",
            f"{row.active:,}",
            _count(flops[row.name]),
            _size(caches[row.name]),
            _size(row.bytes_to_run),
            _size(row.bytes_to_train),
            f"{machines[row.name]:,} GiB",
            f"{rates[row.name]:g}",
        )
        line = "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        print(f"{row.name:16}{line}")
    free = available_memory()
    fitting = [row.name for row in table if machines[row.name] * 2**30 <= free]
    largest = fitting[-1] if fitting else "none of them"
    print(f"\nfree memory of this machine: {_size(free)}; the largest that trains on it: {largest}")
    print("highnoon train --data PATH chooses one by the text and the machine")


def _show(name: str) -> None:
    from highnoon.models.costs import flops_per_token
    from highnoon.models.memory import block_parts, cache_bytes, model_size, part_parameters

    try:
        config = get_preset_config(name).model
    except ConfigError as error:
        raise ConfigError(f"{error}; they are listed by: highnoon models") from None
    size = model_size(name, config)
    parts = part_parameters(config)
    shared = ", one set of weights" if config.share_blocks else ""
    blocks = f"reasoning block x {config.num_reasoning_blocks}{shared}: {config.block_pattern}"
    print(f"{name}: {size.total:,} parameters, {size.active:,} of them for one token\n")
    print(f"{f'embedding  {config.vocab_size:,} x {config.embedding_dim:,}':56}{parts['embedding']:>16,}")
    print(blocks)
    for bound, (text, count) in zip(block_parts(config), parts["block"], strict=True):
        sizes = bound.part.describe(bound.config)
        print(f"    {f'{text}  ({sizes})' if sizes else text:52}{count:>16,}")
    head = "the embedding, transposed" if config.tie_embeddings else "of its own"
    norm = "norm, " if config.final_norm else ""
    print(f"{f'{norm}head ({head})':56}{parts['head']:>16,}")
    length = config.max_seq_length
    print(f"\n{flops_per_token(config, length):,.0f} FLOPs to train on a token of rows of {length:,} tokens")
    print(f"cache of one sequence {_size(cache_bytes(config))}")
    print(f"memory to run {_size(size.bytes_to_run)}")
    print(f"memory to train {_size(size.bytes_to_train)}, activations on top")


def _machine(config: ModelConfig, bytes_to_train: int) -> int:
    """Returns the GiB of a machine, or of a GPU, that trains a model: activations need as much again, or what
    one row of full length needs."""
    from highnoon.models.costs import activation_bytes

    row = activation_bytes(config, 1, config.max_seq_length, "float32") or 0
    return 2 ** max(1, math.ceil(math.log2((bytes_to_train + max(bytes_to_train, row)) / 2**30)))


def _count(number: float) -> str:
    """Returns a number of three digits: 1.23 G."""
    power = min(4, int(math.log10(number)) // 3)
    return f"{number / 1000**power:.3g} {' kMGT'[power]}".rstrip()


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
