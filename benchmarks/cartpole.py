"""PPO on CartPole-v1: this package and cleanrl's `ppo.py` with the same hyperparameters, in one run.

    python benchmarks/cartpole.py --seeds 5 --cleanrl path/to/ppo.py --cleanrl-python path/to/python

cleanrl's file is run as it is, by a Python that has torch, tyro, tensorboard and gymnasium 0.29, for which it
was written. The figure is the mean return of the last 20 episodes that ended within the run. The defaults of
this package, 10,000 steps at width 256, are measured as well.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from lib.report import write_report

from highnoon.alignment.environments import PolicyTrainer

LAST_EPISODES = 20
# gymnasium 0.29 reads a name that NumPy 2 no longer has.
_RUN_CLEANRL = (
    "import numpy, runpy, sys; numpy.bool8 = numpy.bool_; sys.argv = sys.argv[1:]; "
    "runpy.run_path({path!r}, run_name='__main__')"
)
_EPISODE = re.compile(r"global_step=(\d+), episodic_return=\[?([0-9.]+)")


def ours(seed: int, steps: int, **options: Any) -> tuple[float, float]:
    """Returns the mean return of the last episodes, and the seconds of the training."""
    episodes: list[tuple[float, float]] = []

    def note(metrics: dict[str, float]) -> None:
        if metrics["environment/episodes"]:
            episodes.append((metrics["environment/return"], metrics["environment/episodes"]))

    trainer = PolicyTrainer("CartPole-v1", total_timesteps=steps, seed=seed, **options)
    start = time.perf_counter()
    trainer.train(callback=note)
    seconds = time.perf_counter() - start
    total = count = 0.0
    for mean, number in reversed(episodes):
        used = min(number, LAST_EPISODES - count)
        total, count = total + mean * used, count + used
    return total / count, seconds


def cleanrl(seed: int, steps: int, path: str, python: str) -> tuple[float, float]:
    """Returns the same of cleanrl's file, run as it is."""
    words = ["ppo.py", "--seed", str(seed), "--total-timesteps", str(steps), "--no-cuda"]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, "-c", _RUN_CLEANRL.format(path=path), *words],
            capture_output=True,
            text=True,
            cwd=folder,
            check=True,
        )
    seconds = time.perf_counter() - start
    returns = [float(value) for _, value in _EPISODE.findall(done.stdout)]
    if len(returns) < LAST_EPISODES:
        raise RuntimeError(
            f"expected at least {LAST_EPISODES} episodes in cleanrl's output; received {len(returns)}"
        )
    return statistics.mean(returns[-LAST_EPISODES:]), seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--cleanrl", help="cleanrl's ppo.py; without it only this package is measured")
    parser.add_argument("--cleanrl-python", default=sys.executable)
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "cleanrl": [], "ours_10000": []}
    for seed in range(1, arguments.seeds + 1):
        if arguments.cleanrl:
            found["cleanrl"].append(
                cleanrl(seed, arguments.steps, arguments.cleanrl, arguments.cleanrl_python)
            )
            print("cleanrl", seed, *found["cleanrl"][-1], flush=True)
        found["ours"].append(ours(seed, arguments.steps, hidden_dim=64, learning_rate=2.5e-4))
        print("ours", seed, *found["ours"][-1], flush=True)
        found["ours_10000"].append(ours(seed, 10_000))
    figures: dict[str, Any] = {"seeds": arguments.seeds, "steps": arguments.steps}
    for name, results in found.items():
        if results:
            figures[f"{name}_return"] = statistics.mean(value for value, _ in results)
            figures[f"{name}_returns"] = [round(value, 1) for value, _ in results]
            figures[f"{name}_seconds"] = statistics.median(seconds for _, seconds in results)
    if found["cleanrl"]:
        figures["return_ratio"] = figures["ours_return"] / figures["cleanrl_return"]
        figures["seconds_ratio"] = figures["ours_seconds"] / figures["cleanrl_seconds"]
    write_report("cartpole", figures)


if __name__ == "__main__":
    main()
