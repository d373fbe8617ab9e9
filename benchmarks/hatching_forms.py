"""What the forms of a BDH layer cost, forward and backward, compared with the published code.

    KERAS_BACKEND=jax python benchmarks/hatching_forms.py
    KERAS_BACKEND=jax python benchmarks/hatching_forms.py --width 256 --multiplier 128 --peer bdh.py

Runs on CPU or GPU through JAX. `--peer` is the file `bdh.py` of github.com/pathwaycom/bdh, which needs
PyTorch and runs on the same device in the same process, compiled by nothing, as it is published. Figures are
medians of seconds for one row; the exponent is that of time against length between the two longest rows.
Decoding takes 512 tokens one at a time through all layers; the peer computes the whole prefix for each.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
from lib.report import write_report

from highnoon.layers.hatching import BDHLayer

HEADS, LAYERS, DECODED = 4, 6, 512


def our_step(form: str, width: int, multiplier: int, length: int) -> Callable[[], Any]:
    """Returns one compiled forward and backward step of one layer."""
    layer = BDHLayer(HEADS, multiplier, form=form)
    layer.build((1, length, width))
    variables = layer.trainable_variables
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, length, width)), "float32")

    @jax.jit
    def gradients(values, x):
        def loss(values, x):
            (y, _), _ = layer.stateless_call(values, [], x)
            return jnp.sum(jnp.square(y))

        return jax.grad(loss, argnums=(0, 1))(values, x)

    values = [variable.value for variable in variables]
    return lambda: jax.block_until_ready(gradients(values, x))


def our_decoding(width: int, multiplier: int, length: int) -> Callable[[], Any]:
    """Returns `DECODED` tokens through all layers with their caches, in one compiled loop."""
    layer = BDHLayer(HEADS, multiplier)
    layer.build((1, length, width))
    caches = [layer.initial_cache(1, length) for _ in range(LAYERS)]
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 1, width)), "float32")

    @jax.jit
    def decode(x, caches):
        def one(index, carried):
            x, caches = carried
            new = []
            for cache in caches:
                x, cache = layer.step(x, cache, index)
                new.append(cache)
            return x, new

        return jax.lax.fori_loop(0, length, one, (x, caches))[0]

    return lambda: jax.block_until_ready(decode(x, caches))


def load_peer(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("peer_bdh", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["peer_bdh"] = module
    spec.loader.exec_module(module)
    return module


def peer_steps(path: str, width: int, multiplier: int, length: int) -> tuple[Callable, Callable]:
    """Returns a step of a model of one layer, and the decoding of `DECODED` tokens by one of all."""
    import torch

    module = load_peer(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def model(layers: int) -> Any:
        config = module.BDHConfig(layers, width, 0.0, HEADS, multiplier)
        return module.BDH(config).to(device)

    one, every = model(1), model(LAYERS)
    ids = torch.zeros((1, length), dtype=torch.long, device=device)

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def step() -> None:
        one.zero_grad()
        one(ids, ids)[1].backward()
        wait()

    def decode() -> None:
        every.generate(ids[:, :1], DECODED - 1)
        wait()

    return step, decode


def seconds(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Returns the median of each, one round of all after the other."""
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, of_run in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            of_run.append(time.perf_counter() - start)
    return [statistics.median(of_run) for of_run in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--multiplier", type=int, default=32)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--longest-quadratic", type=int, default=4096, help="longer rows take chunks alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", help="the published bdh.py")
    arguments = parser.parse_args()
    size = (arguments.width, arguments.multiplier)
    rows: dict[str, dict[str, float]] = {}
    for length in arguments.lengths:
        runs = {"chunked": our_step("chunked", *size, length)}
        if length <= arguments.longest_quadratic:
            runs["quadratic"] = our_step("quadratic", *size, length)
            if arguments.peer:
                runs["published"] = peer_steps(arguments.peer, *size, length)[0]
        rows[str(length)] = dict(zip(runs, seconds(list(runs.values()), arguments.rounds), strict=True))
        print(
            length, {name: f"{value * 1e3:.2f} ms" for name, value in rows[str(length)].items()}, flush=True
        )
    first, last = arguments.lengths[-2:]
    ratio = rows[str(last)]["chunked"] / rows[str(first)]["chunked"]
    exponent = math.log(ratio) / math.log(last / first)
    runs = {"cached": our_decoding(*size, DECODED)}
    if arguments.peer:
        runs["published"] = peer_steps(arguments.peer, *size, 8)[1]
    decoding = dict(zip(runs, seconds(list(runs.values()), min(arguments.rounds, 3)), strict=True))
    print("exponent of chunks", round(exponent, 2), "decoding", decoding, flush=True)
    device = jax.devices()[0]
    results = {
        "device": f"{device.platform} {device.device_kind}",
        "width": arguments.width,
        "multiplier": arguments.multiplier,
        "heads": HEADS,
        "seconds": rows,
        "exponent_of_chunks": exponent,
        "seconds_of_decoding_512_tokens": decoding,
    }
    write_report("hatching_forms", results)


if __name__ == "__main__":
    main()
