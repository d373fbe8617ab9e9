"""Lists the presets: parameters, those that one token passes, and the memory to run and to train them.

To run: weights and the cache of one sequence of full length. To train: weights, gradients and the optimizer's
two moments; activations, which grow with the batch, come on top. With --show, the layers of one of them.
"""

from __future__ import annotations

import argparse
import json

from highnoon.cli.process.quiet_start import load_tensorflow

SUMMARY = "list the presets with their size and the memory they need"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the table as JSON, memory in bytes")
    parser.add_argument("--show", metavar="NAME", help="print the layers of this preset, without building it")


def run(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    from highnoon.models.memory import available_memory, model_table

    if arguments.show is not None:
        _show(arguments.show)
        return
    table = model_table()
    if arguments.json:
        print(json.dumps([row._asdict() for row in table], indent=2))
        return
    print(f"{'preset':16}{'parameters':>16}{'active':>16}{'to run':>12}{'to train':>12}")
    for row in table:
        print(
            f"{row.name:16}{row.total:>16,}{row.active:>16,}"
            f"{_gib(row.bytes_to_run):>12}{_gib(row.bytes_to_train):>12}"
        )
    print(f"\nfree memory of this machine: {_gib(available_memory())}")


def _show(name: str) -> None:
    from highnoon.config import get_preset_config
    from highnoon.models.memory import block_parts, model_size, part_parameters

    config = get_preset_config(name).model
    size = model_size(name, config)
    parts = part_parameters(config)
    blocks = f"reasoning block x {config.num_reasoning_blocks}: {config.block_pattern}"
    print(f"{name}: {size.total:,} parameters, {size.active:,} of them for one token\n")
    print(f"{f'embedding  {config.vocab_size:,} x {config.embedding_dim:,}':56}{parts['embedding']:>16,}")
    print(blocks)
    for bound, (text, count) in zip(block_parts(config), parts["block"], strict=True):
        sizes = bound.part.describe(bound.config)
        print(f"    {f'{text}  ({sizes})' if sizes else text:52}{count:>16,}")
    head = "the embedding, transposed" if config.tie_embeddings else "of its own"
    print(f"{f'norm, head ({head})':56}{parts['head']:>16,}")
    print(f"\nto run {_gib(size.bytes_to_run)}, to train {_gib(size.bytes_to_train)}, activations on top")


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
