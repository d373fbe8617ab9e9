"""How long a first run without a flag takes, and what it reaches: `highnoon train --data FILE`.

    python benchmarks/first_run.py --data path/to/tinyshakespeare.txt

Runs the command in a process and a folder of its own, with an empty cache: imports, tokenizer, compilation,
training and saving are counted, both on the clock and in the time of the processor. The held-out figures are
those that the command prints. Then it asks the folder of the run for an evaluation and a text.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

from lib.report import write_report

_COMMAND = (sys.executable, "-m", "highnoon.cli")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("HIGHNOON_DATA")
    parser.add_argument("--data", default=data and f"{data}/plain/tinyshakespeare.txt", help="the text file")
    arguments = parser.parse_args()
    if not arguments.data or not pathlib.Path(arguments.data).is_file():
        parser.error("give the text file with --data, or set HIGHNOON_DATA")
    data = os.path.abspath(arguments.data)
    with tempfile.TemporaryDirectory() as folder:
        write_report("first_run", measure(data, pathlib.Path(folder)))


def measure(data: str, folder: pathlib.Path) -> dict[str, object]:
    """Returns the figures of a run on `data` in `folder`."""
    began, used = time.perf_counter(), processor_seconds()
    printed = run(["train", "--data", data], folder)
    figures: dict[str, object] = {
        "seconds": time.perf_counter() - began,
        "processor_seconds": processor_seconds() - used,
        "load_of_the_machine": os.getloadavg()[1],
        "text_bytes": pathlib.Path(data).stat().st_size,
    }
    print(printed, flush=True)
    chosen = re.search(r"model: (\S+) with a vocabulary of ([\d,]+)", printed)
    steps = re.search(r"([\d,]+) steps in all", printed)
    final = re.search(r"bits per byte\s+([\d.]+)\s+\(gzip -9: ([\d.]+)\)", printed)
    held_out = re.search(r"tokens\s+[\d,]+ \(([\d,]+) bytes\)", printed)
    assert chosen and steps and final and held_out, printed
    figures |= {
        "preset": chosen[1],
        "vocabulary": int(chosen[2].replace(",", "")),
        "steps": int(steps[1].replace(",", "")),
        "held_out_bytes": int(held_out[1].replace(",", "")),
        "bits_per_byte": float(final[1]),
        "gzip_bits_per_byte": float(final[2]),
    }
    model = ["--model", "highnoon-run"]
    evaluated = json.loads(run(["evaluate", *model, "--data", data, "--held-out", "--json"], folder))
    assert abs(evaluated["bits_per_byte"] - float(final[1])) < 1e-3, evaluated
    print(run(["generate", *model, "--prompt", "KING RICHARD:", "--max-length", "60", "--seed", "1"], folder))
    return figures


def run(words: list[str], folder: pathlib.Path) -> str:
    """Returns what a command prints."""
    environment = {**os.environ, "HIGHNOON_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [*_COMMAND, *words], cwd=folder, env=environment, check=True, text=True, stdout=subprocess.PIPE
    )
    return done.stdout


def processor_seconds() -> float:
    """Returns the time of the processor that this process's children have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
