"""What `import highnoon` costs compared with `import keras`: medians of fresh processes, taken by turns.

python benchmarks/import_time.py --runs 7
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys

RESULTS = pathlib.Path(__file__).parent / "results"
STATEMENTS = {
    "keras": "import keras",
    "highnoon": "import highnoon",
    "highnoon_and_keras": "import highnoon, keras",
}
TIMER = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def seconds_of(statement: str) -> float:
    command = [sys.executable, "-c", TIMER.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def measure(runs: int) -> dict[str, float]:
    """Returns the median seconds of each statement and its ratio to importing Keras alone.

    One run of each statement is thrown away, so that none pays for a cold disk; then they take turns, so
    that a busy moment of the machine meets all of them.
    """
    taken: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for run in range(runs + 1):
        for name, statement in STATEMENTS.items():
            seconds = seconds_of(statement)
            if run:
                taken[name].append(seconds)
    medians = {f"{name}_seconds": statistics.median(seconds) for name, seconds in taken.items()}
    ratios = {
        f"{name}_over_keras": medians[f"{name}_seconds"] / medians["keras_seconds"]
        for name in STATEMENTS
        if name != "keras"
    }
    return medians | ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    figures = {"runs": runs, "python": platform.python_version(), **measure(runs)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "import_time.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
