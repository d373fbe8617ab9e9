"""Holds the figures of the documents to the committed results of the benchmarks.

    python scripts/doc_figures.py            # lists figures that differ
    python scripts/doc_figures.py --write    # writes the results' figures into the documents

A figure in a document is followed by a comment that names its source, which no page shows:

    <!-- figures: training_step -->
    1,397<!--highnoon_tokens_per_second-->
    17.0 million<!--tokens_a_second_batch_8 / 1e6-->
    1.480<!--curricula:none: bits a byte-->

The first names the file in `benchmarks/results/` for what follows it; the last names its own. A figure is
right if the result, rounded as the figure is, equals it; a range (`9,400 to 10,500`) must contain it.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

# Results that no quiet machine has produced yet since results are committed, each with its command. A name is
# removed when its file is committed.
AWAITED = {
    "training_step": "python benchmarks/training_step.py",
    "moe": "python benchmarks/moe.py",
    "mixers": "python benchmarks/mixers.py",
    "decoding": "python benchmarks/decoding.py",
    "peak_memory": "python benchmarks/peak_memory.py",
    "training_engine": "python benchmarks/training_engine.py",
    "loop_overhead": "python benchmarks/loop_overhead.py",
    "pipeline": "python benchmarks/pipeline.py",
    "cleaning": "python benchmarks/cleaning.py",
}

_FILE = re.compile(r"<!-- figures: (\w+) -->")
_FIGURE = re.compile(
    r"(?:(?P<low>\d[\d,]*(?:\.\d+)?) to )?(?P<shown>\d[\d,]*(?:\.\d+)?)(?P<unit>(?: [A-Za-z]+){0,2})"
    r"<!--(?:(?P<file>[a-z_]+):(?=\S))?(?P<key>[^>]+?)(?: (?P<sign>[*/]) (?P<scale>-?[\d.e]+))?-->"
)


class Figure(NamedTuple):
    """A figure in a document.

    Args:
        line: Counted from 1.
        low: The lower end of a range, as it is written, or None.
        shown: The figure as it is written.
        file: The result's name, without `.json`.
        key: The result's key.
        factor: What the result is multiplied by.
        span: Where figure and range are in the text.
    """

    line: int
    low: str | None
    shown: str
    file: str
    key: str
    factor: float
    span: tuple[int, int]

    def expected(self) -> str:
        """Returns the result, written as the figure is.

        Raises:
            KeyError: the results have no such key.
        """
        figures = json.loads((RESULTS / f"{self.file}.json").read_text(encoding="utf-8"))["figures"]
        return as_shown(figures[self.key] * self.factor, self.shown)

    def is_right(self) -> bool:
        """Returns whether the figure equals the result, or its range contains it."""
        expected = self.expected()
        if self.low is None:
            return expected == self.shown
        low, value, high = (float(text.replace(",", "")) for text in (self.low, expected, self.shown))
        return low <= value <= high


def as_shown(value: float, shown: str) -> str:
    """Returns a value with the decimals, the thousands separators and the trailing zeros of a figure."""
    digits = shown.replace(",", "")
    if "." in digits:
        return f"{value:,.{len(digits.partition('.')[2])}f}"
    zeros = len(digits) - len(digits.rstrip("0")) if digits != "0" else 0
    return f"{round(value, -zeros):,.0f}"


def figures_of(text: str) -> list[Figure]:
    """Returns the figures of a document that name their source, in order."""
    files = [(match.start(), match[1]) for match in _FILE.finditer(text)]
    found = []
    for match in _FIGURE.finditer(text):
        before = [name for start, name in files if start < match.start()]
        file = match["file"] or (before[-1] if before else "")
        scale = float(match["scale"] or 1)
        factor = 1 / scale if match["sign"] == "/" else scale
        line = text.count("\n", 0, match.start()) + 1
        start = match.start("low") if match["low"] else match.start("shown")
        span = (start, match.end("shown"))
        found.append(Figure(line, match["low"], match["shown"], file, match["key"], factor, span))
    return found


def documents() -> list[pathlib.Path]:
    """Returns the documents that may show figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def has_results(figure: Figure) -> bool:
    """Returns whether the figure's results are committed."""
    return (RESULTS / f"{figure.file}.json").is_file()


def with_results(text: str) -> str:
    """Returns a document with the figures of the results in place of its own."""
    for figure in reversed(figures_of(text)):
        if has_results(figure) and not figure.is_right():
            start, stop = figure.span
            text = text[:start] + figure.expected() + text[stop:]
    return text


def main() -> int:
    num_wrong = 0
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if "--write" in sys.argv[1:]:
            path.write_text(with_results(text), encoding="utf-8")
            continue
        for figure in figures_of(text):
            if has_results(figure) and not figure.is_right():
                num_wrong += 1
                where = f"{path.relative_to(ROOT)}:{figure.line}"
                print(f"{where}: {figure.shown} should be {figure.expected()} ({figure.file}: {figure.key})")
    return 1 if num_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
