"""Draws the packages of HighNoon from the import contract in pyproject.toml.

python scripts/draw_architecture.py            # writes docs/images/architecture.svg
python scripts/draw_architecture.py --check    # exits with 1 if the picture is not that of the contract
"""

from __future__ import annotations

import pathlib
import sys
import tomllib
from html import escape

ROOT = pathlib.Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"

CAPTIONS = {
    "alignment": "learning from preferences",
    "callbacks": "observe a run",
    "cli": "one verb a file: parse, call, print",
    "compat": "older names",
    "config": "configurations, presets, YAML",
    "data": "files and hubs to batches",
    "evaluation": "perplexity, bits per byte",
    "experts": "frozen language models under one router",
    "files": "complete folders, locks, hashes",
    "inference": "cached decoding, sampling, speculation",
    "layers": "Keras layers, one a file",
    "models": "configuration to keras.Model",
    "monitoring": "metrics, alerts, terminal",
    "recipe": "a run as one object",
    "testing": "check_layer, check_mixer, ...",
    "tokenization": "text and ids, chat templates",
    "training": "Trainer, objectives, steps, checkpoints, curricula, distribution",
    "vectors": "nearest vectors, FAISS",
}

_WIDTH, _LEFT, _TOP = 880, 64, 20
_ROW_HEIGHT, _GAP = 52, 16
_STYLE = """
    .box { fill: #eef2ff; stroke: #4f5bd5; stroke-width: 1.2; }
    .name { font: 600 15px ui-monospace, Menlo, Consolas, monospace; fill: #1b1f3b; }
    .what { font: 12px system-ui, Helvetica, Arial, sans-serif; fill: #4a4f6a; }
    .arrow { stroke: #8087a8; stroke-width: 1.4; fill: none; }
    .head { fill: #8087a8; }
    @media (prefers-color-scheme: dark) {
      .box { fill: #23284a; stroke: #8f99ff; }
      .name { fill: #eef0ff; }
      .what { fill: #b9bede; }
    }
"""


def layers() -> list[list[str]]:
    """Returns the packages of each layer of the import contract, the highest first.

    Raises:
        ValueError: a package has no caption here.
    """
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    contract = next(entry for entry in contracts["contracts"] if entry["type"] == "layers")
    found = [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]
    if missing := [name for layer in found for name in layer if name not in CAPTIONS]:
        raise ValueError(f"scripts/draw_architecture.py has no caption for {missing}; add it to CAPTIONS")
    return found


def draw(found: list[list[str]]) -> str:
    """Returns the picture: a row for each layer, whose packages import only from rows below."""
    height = 2 * _TOP + len(found) * (_ROW_HEIGHT + _GAP) - _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title">',
        f'  <title id="title">The packages of HighNoon from {escape(found[0][0])} down to '
        f"{escape(found[-1][0])}; each imports only from packages below it</title>",
        f"  <style>{_STYLE}  </style>",
        f'  <path class="arrow" d="M 30 {_TOP} V {height - _TOP - 8}"/>',
        f'  <path class="head" d="M 24 {height - _TOP - 10} h 12 l -6 10 z"/>',
        f'  <text class="what" transform="translate(20 {height // 2}) rotate(-90)" '
        'text-anchor="middle">imports</text>',
    ]
    for row, names in enumerate(found):
        y = _TOP + row * (_ROW_HEIGHT + _GAP)
        width = (_WIDTH - _LEFT - 16 - (len(names) - 1) * _GAP) / len(names)
        for column, name in enumerate(names):
            x = _LEFT + column * (width + _GAP)
            middle = x + width / 2
            parts += [
                f'  <rect class="box" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW_HEIGHT}" '
                'rx="6"/>',
                f'  <text class="name" x="{middle:.1f}" y="{y + 22}" text-anchor="middle">{name}</text>',
                f'  <text class="what" x="{middle:.1f}" y="{y + 40}" text-anchor="middle">'
                f"{escape(CAPTIONS[name])}</text>",
            ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> int:
    picture = draw(layers())
    if "--check" in sys.argv[1:]:
        is_same = PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == picture
        print("the picture is that of the contract" if is_same else "run python scripts/draw_architecture.py")
        return 0 if is_same else 1
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
