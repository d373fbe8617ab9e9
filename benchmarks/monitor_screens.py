"""Makes the screens of docs/guides/monitoring.md: a healthy run, a diverging one and a starved one.

    python benchmarks/monitor_screens.py --steps 60

Each is a real run of `highnoon-nano` on the standard library's documents; each screen is what
`highnoon monitor --once` prints of its metrics file, put between its two marks in the page.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time
from typing import Any

import keras

import highnoon as hn
from highnoon.callbacks import MetricsFile
from highnoon.data import RowsView
from highnoon.monitoring.views.run_page import page_text
from highnoon.monitoring.views.run_view import RunView

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "guides" / "monitoring.md"
HEALTHY: dict[str, Any] = {"learning_rate": 3e-3, "warmup_steps": 10, "gradient_clip": 1.0}
DIVERGING: dict[str, Any] = {
    "learning_rate": 1.0,
    "warmup_steps": 1,
    "schedule": "constant",
    "gradient_clip": None,
}
SLOW_READ_SECONDS = 0.25


def train(folder: pathlib.Path, num_steps: int, options: dict[str, Any]) -> pathlib.Path:
    """Runs, or runs into the wall, and returns the metrics file."""
    keras.utils.set_random_seed(1)
    trainer = hn.Trainer(hn.create_model("highnoon-nano"), batch_size=8, max_seq_length=128, **options)
    trainer.add_curriculum_stage("documents", datasets=["stdlib:docs"], steps=num_steps)
    metrics = folder / "metrics.jsonl"
    try:
        trainer.train(
            log_interval=2,
            eval_interval=max(1, num_steps // 6),
            log_dir=None,
            save_checkpoints=False,
            verbose=False,
            callbacks=[MetricsFile(metrics)],
        )
    except FloatingPointError as error:
        print(f"ended as it should: {error}")
    return metrics


def train_starved(folder: pathlib.Path, num_steps: int) -> pathlib.Path:
    """The healthy run, with rows that come from a slow disk."""
    read = RowsView.read

    def read_slowly(view: Any, start: int, count: int) -> Any:
        time.sleep(SLOW_READ_SECONDS)
        return read(view, start, count)

    RowsView.read = read_slowly  # type: ignore[method-assign]
    try:
        return train(folder, num_steps, HEALTHY)
    finally:
        RowsView.read = read  # type: ignore[method-assign]


def put_screen(name: str, screen: str) -> None:
    """Replaces what stands between the marks of a screen in the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(f"<!-- screen {name} -->\n")
    _, _, after = rest.partition("<!-- end -->\n")
    if not after and not rest:
        raise ValueError(f"{PAGE} has no mark `<!-- screen {name} -->`")
    block = f"<!-- screen {name} -->\n```text\n{screen}\n```\n<!-- end -->\n"
    PAGE.write_text(before + block + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    num_steps = parser.parse_args().steps
    runs = {
        "healthy": lambda folder: train(folder, num_steps, HEALTHY),
        "diverging": lambda folder: train(folder, num_steps, DIVERGING),
        "starved": lambda folder: train_starved(folder, num_steps),
    }
    with tempfile.TemporaryDirectory() as home:
        for name, run in runs.items():
            view = RunView(run(pathlib.Path(home) / name))
            view.update()
            screen = page_text(view, now=view.last_time)
            print(f"== {name}\n{screen}\n")
            put_screen(name, screen)


if __name__ == "__main__":
    main()
